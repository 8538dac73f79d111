//! What is mounted where (Documentation/filesystems/proc.rst, Linux 6.1, section 3.5
//! `/proc/PID/mountinfo`).

use std::path::{Path, PathBuf};

use crate::machine::{Machine, ReadError};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// The directory of the file system that is seen there.
    pub root: PathBuf,
    /// The kernel's name for its type.
    pub filesystem: String,
    /// The device, or whatever else it comes from.
    pub source: PathBuf,
}

/// Everything that is mounted, in the order in which it was.
pub fn read(machine: &Machine) -> Result<Vec<Mount>, ReadError> {
    let text = machine.required_text("proc/self/mountinfo")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// The file system that has `path`: the last one that was mounted deepest above it.
pub fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Where the file system on device `node` is mounted, if it is.
pub fn of_device<'a>(mounts: &'a [Mount], machine: &Machine, node: &Path) -> Option<&'a Mount> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let node = real(node);
    mounts.iter().find(|mount| real(&machine.of_absolute(&mount.source)) == node)
}

fn parse(line: &str) -> Option<Mount> {
    // Optional fields end at the dash.
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let mut filesystem = filesystem.split(' ');
    Some(Mount {
        root: unescaped(mount.nth(3)?),
        point: unescaped(mount.next()?),
        filesystem: filesystem.next()?.to_owned(),
        source: unescaped(filesystem.next()?),
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
        23 22 0:21 / /proc rw - proc proc rw\n\
        24 22 8:3 /sub/v\\040r /var rw,relatime shared:2 master:1 - xfs /dev/sda3 rw\n\
        nonsense\n\
        25 22 0:22 / /var rw - tmpfs tmpfs rw\n\
        26 22 8:4 / /variant rw - ext4 /dev/sda4 rw\n";

    #[test]
    fn the_mount_that_holds_a_path_is_the_last_of_the_deepest() {
        let mounts: Vec<Mount> = TEXT.lines().filter_map(parse).collect();
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].root, Path::new("/sub/v r"));
        let holding = |path: &str| holding(&mounts, Path::new(path)).unwrap().filesystem.clone();
        assert_eq!(holding("/home"), "ext4");
        assert_eq!(holding("/var/crash"), "tmpfs");
        assert_eq!(
            super::holding(&mounts[..3], Path::new("/var/crash")).unwrap().filesystem,
            "xfs"
        );
    }
}
