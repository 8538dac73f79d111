//! Writes initramfs archives in the `newc` cpio format
//! (Documentation/driver-api/early-userspace/buffer-format.rst, Linux 6.1).
//!
//! The same entries give the same bytes: they are sorted by path, inode numbers count from 1, and
//! owner and modification time are zero.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// File type bits of `st_mode` (include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// Longest path the kernel takes, with its final NUL (include/uapi/linux/limits.h).
const PATH_MAX: usize = 4096;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is empty, too long, or has an empty, `.` or `..` component or a NUL byte.
    #[error("initramfs: {path:?} is not a path below the root: use components without . and ..")]
    Path {
        /// The path as it was given.
        path: String,
    },
    /// A path is needed as a directory and was added as something else.
    #[error("initramfs: {path:?} is added as a file and has entries below it")]
    NotADirectory {
        /// The path that is both.
        path: String,
    },
    /// The format has 32 bits for the size of a file.
    #[error("initramfs: {path:?} has {size} bytes: the cpio format ends at 4 GiB")]
    TooLarge {
        /// Path of the entry.
        path: String,
        /// Its size in bytes.
        size: usize,
    },
    /// Writing the archive failed.
    #[error("initramfs: cannot write the archive")]
    Write(#[from] io::Error),
}

/// What kind of device a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

/// The entries of an archive. Paths are relative to its root; a leading `/` is accepted.
///
/// Directories above an entry are added by themselves with mode 0755. An entry added twice keeps
/// its last content.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

impl Initramfs {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with mode 0755.
    pub fn dir(&mut self, path: &str) -> &mut Self {
        self.add(path, S_IFDIR | 0o755, (0, 0), Vec::new())
    }

    /// Adds a regular file; `mode` is its permission bits.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) -> &mut Self {
        self.add(path, S_IFREG | (mode & 0o7777), (0, 0), data.into())
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, S_IFLNK | 0o777, (0, 0), target.as_bytes().to_vec())
    }

    /// Adds a device node; `mode` is its permission bits.
    pub fn node(
        &mut self,
        path: &str,
        mode: u32,
        kind: Device,
        major: u32,
        minor: u32,
    ) -> &mut Self {
        let file_type = match kind {
            Device::Character => S_IFCHR,
            Device::Block => S_IFBLK,
        };
        self.add(path, file_type | (mode & 0o7777), (major, minor), Vec::new())
    }

    /// The regular files with their content, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.entries.iter().filter(|(_, entry)| entry.mode & S_IFMT == S_IFREG);
        files.map(|(path, entry)| (path.as_str(), entry.data.as_slice()))
    }

    /// Writes the archive, ends it with the trailer entry, and returns its length in bytes.
    ///
    /// The length is a multiple of 4, so archives can be put one after the other.
    pub fn write_to(&self, out: &mut impl Write) -> Result<u64, Error> {
        let mut out = Counted { out, written: 0 };
        let mut inode = 0;
        for (path, entry) in &with_parents(&self.entries)? {
            inode += 1;
            write_entry(&mut out, path, inode, entry)?;
        }
        let trailer = Entry { mode: 0, device: (0, 0), data: Vec::new() };
        write_entry(&mut out, "TRAILER!!!", 0, &trailer)?;
        Ok(out.written)
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) -> &mut Self {
        let path = path.strip_prefix('/').unwrap_or(path).to_owned();
        self.entries.insert(path, Entry { mode, device, data });
        self
    }
}

/// The entries with every missing parent directory: the kernel creates what the archive lists, in
/// its order, and nothing else. A parent sorts before what is below it.
fn with_parents(entries: &BTreeMap<String, Entry>) -> Result<BTreeMap<String, Entry>, Error> {
    let mut all = entries.clone();
    for path in entries.keys() {
        check_path(path)?;
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            let directory = Entry { mode: S_IFDIR | 0o755, device: (0, 0), data: Vec::new() };
            let found = all.entry(parent.to_owned()).or_insert(directory);
            if found.mode & S_IFMT != S_IFDIR {
                return Err(Error::NotADirectory { path: parent.to_owned() });
            }
        }
    }
    Ok(all)
}

fn check_path(path: &str) -> Result<(), Error> {
    let good = path.len() < PATH_MAX
        && !path.contains('\0')
        && path.split('/').all(|component| !matches!(component, "" | "." | ".."));
    good.then_some(()).ok_or_else(|| Error::Path { path: path.to_owned() })
}

fn write_entry(
    out: &mut Counted<'_, impl Write>,
    path: &str,
    inode: u32,
    entry: &Entry,
) -> Result<(), Error> {
    let too_large = || Error::TooLarge { path: path.to_owned(), size: entry.data.len() };
    let size = u32::try_from(entry.data.len()).map_err(|_| too_large())?;
    let name_size = u32::try_from(path.len() + 1).map_err(|_| too_large())?;
    let (major, minor) = entry.device;
    // ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize chksum
    let fields = [inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    out.write_all(path.as_bytes())?;
    out.write_all(b"\0")?;
    out.pad()?;
    out.write_all(&entry.data)?;
    out.pad()?;
    Ok(())
}

/// A writer that knows its offset, for the padding to 4 bytes.
struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Counted<'_, W> {
    fn pad(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.write_all(b"\0")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(archive: &Initramfs) -> Vec<u8> {
        let mut out = Vec::new();
        let length = archive.write_to(&mut out).unwrap();
        assert_eq!(length, out.len() as u64);
        out
    }

    /// Path, mode, device numbers, data.
    type Parsed = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive back.
    fn parse(mut archive: &[u8]) -> Vec<Parsed> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[6 + n * 8..14 + n * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name_end = 110 + field(11) as usize;
            let path = String::from_utf8(archive[110..name_end - 1].to_vec()).unwrap();
            let data_start = name_end.next_multiple_of(4);
            let data_end = data_start + field(6) as usize;
            if path == "TRAILER!!!" {
                assert_eq!(archive.len(), data_end);
                return entries;
            }
            let data = archive[data_start..data_end].to_vec();
            entries.push((path, field(1), (field(9), field(10)), data));
            archive = &archive[data_end.next_multiple_of(4)..];
        }
    }

    #[test]
    fn entries_come_back_sorted_with_their_parents() {
        let mut archive = Initramfs::new();
        archive
            .file("/init", 0o755, *b"hello")
            .node("dev/console", 0o600, Device::Character, 5, 1)
            .symlink("sbin/reboot", "/init")
            .dir("proc");
        let expected = [
            ("dev", 0o040_755, (0, 0), &b""[..]),
            ("dev/console", 0o020_600, (5, 1), b""),
            ("init", 0o100_755, (0, 0), b"hello"),
            ("proc", 0o040_755, (0, 0), b""),
            ("sbin", 0o040_755, (0, 0), b""),
            ("sbin/reboot", 0o120_777, (0, 0), b"/init"),
        ]
        .map(|(path, mode, device, data)| (path.to_owned(), mode, device, data.to_vec()));
        assert_eq!(parse(&bytes(&archive)), expected);
    }

    #[test]
    fn the_order_of_calls_does_not_change_the_bytes() {
        let (mut one, mut other) = (Initramfs::new(), Initramfs::new());
        one.file("a/b", 0o644, *b"x").dir("c");
        other.dir("c").file("a/b", 0o644, *b"x");
        assert_eq!(bytes(&one), bytes(&other));
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        for path in ["", "/", "a//b", "../x", "a/./b", "a/..", "a\0b", &"x".repeat(4096)] {
            let mut archive = Initramfs::new();
            archive.dir(path);
            let refused = archive.write_to(&mut io::sink());
            assert!(matches!(refused, Err(Error::Path { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_file_has_nothing_below_it() {
        for archive in [
            Initramfs::new().file("a", 0o644, *b"").file("a/b", 0o644, *b""),
            Initramfs::new().symlink("a", "c").file("a/b", 0o644, *b""),
            Initramfs::new().node("a", 0o600, Device::Block, 8, 0).file("a/b", 0o644, *b""),
        ] {
            let refused = archive.write_to(&mut io::sink());
            assert!(matches!(refused, Err(Error::NotADirectory { .. })));
        }
    }
}
