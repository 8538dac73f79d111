//! Where distributions keep the initrd of a kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// No initrd was found.
#[derive(Debug, thiserror::Error)]
#[error(
    "no initrd of kernel {release} is at {}: name it with --base",
    tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
)]
pub struct NotFound {
    release: String,
    tried: Vec<PathBuf>,
}

/// The initrd of the kernel `release` on the system below `root` (`/`).
pub fn find(root: &Path, release: &str) -> Result<PathBuf, NotFound> {
    let tried = candidates(root, release);
    match tried.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(NotFound { release: release.to_owned(), tried }),
    }
}

fn candidates(root: &Path, release: &str) -> Vec<PathBuf> {
    let boot = root.join("boot");
    let mut paths = vec![
        // Debian: initramfs-tools, or dracut.
        boot.join(format!("initrd.img-{release}")),
        // Fedora and its relatives: dracut.
        boot.join(format!("initramfs-{release}.img")),
        // openSUSE: dracut.
        boot.join(format!("initrd-{release}")),
    ];
    // Arch: mkinitcpio names it after the package.
    if let Ok(package) = trimmed(&root.join("usr/lib/modules").join(release).join("pkgbase")) {
        paths.push(boot.join(format!("initramfs-{package}.img")));
    }
    // kernel-install(8) with the layout "bls".
    if let Ok(machine) = trimmed(&root.join("etc/machine-id")) {
        paths.push(boot.join(machine).join(release).join("initrd"));
    }
    paths
}

fn trimmed(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn each_distribution_s_name_is_known() {
        let arch = [("usr/lib/modules/6.1/pkgbase", "linux-lts\n"), ("etc/machine-id", "abc\n")];
        for path in [
            "boot/initrd.img-6.1",
            "boot/initramfs-6.1.img",
            "boot/initrd-6.1",
            "boot/initramfs-linux-lts.img",
            "boot/abc/6.1/initrd",
        ] {
            let root = root_with(&[&arch[..], &[(path, "x")]].concat());
            assert_eq!(find(root.path(), "6.1").unwrap(), root.path().join(path));
        }
    }

    #[test]
    fn what_was_looked_for_is_told() {
        let root = root_with(&[("boot/initrd.img-6.2", "x")]);
        let error = find(root.path(), "6.1").unwrap_err().to_string();
        assert!(error.contains("boot/initrd.img-6.1,") && error.contains("--base"), "{error}");
    }
}
