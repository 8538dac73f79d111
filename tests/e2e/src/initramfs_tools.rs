//! The initrd that Debian's initramfs-tools makes for a kernel.
//!
//! Its package and what it needs are unpacked into a root of their own, in which `mkinitramfs` runs
//! as it does on a Debian system.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chroot;
use crate::debian::{self, Archive};
use crate::kernel::Kernel;
use crate::process;

/// What mkinitramfs needs beside what its package depends on: packages that every Debian system
/// has, and busybox, which most have, for tools in the initrd.
const PACKAGES: [&str; 13] = [
    "initramfs-tools",
    "bash",
    "busybox",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "libc-bin",
    "mawk",
    "sed",
    "tar",
    "util-linux",
    "zstd",
];

/// The guest program in the initrd, where there is one: it runs before the root file system is
/// looked for.
pub const EARLY_GUEST: &str = "/e2e/early";

/// A boot script (initramfs-tools(7)), part of every initrd made here.
const SCRIPT: &str = "#!/bin/sh\n\
    [ \"$1\" = prereqs ] && exit 0\n\
    [ -x /e2e/early ] && /e2e/early\n\
    exit 0\n";

/// An initrd that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// A program failed.
    #[error(transparent)]
    Tool(#[from] process::Error),
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The initrd of `kernel`, made at the first call and kept as `out`.
pub fn build(archive: &Archive, kernel: &Kernel, out: &Path) -> Result<(), Error> {
    if out.exists() {
        return Ok(());
    }
    let packages = archive.with_dependencies("initramfs-tools", &PACKAGES)?;
    // Links to the unpacked packages: mkinitramfs writes only new files.
    let root = out.with_extension("root");
    copy(&packages, &root)?;
    let release = kernel.release();
    let modules = root.join("lib/modules");
    make_dir(&modules)?;
    copy(&kernel.modules, &modules.join(&release))?;
    let boot = root.join("boot");
    copy(kernel.image.parent().unwrap_or(&kernel.image), &boot)?;
    let script = root.join("etc/initramfs-tools/scripts/init-top/e2e");
    fs::write(&script, SCRIPT)
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::File { path: script, source })?;

    chroot::run(&root, "depmod", &[&release])?;
    chroot::run(&root, "mkinitramfs", &["-o", "/initrd", &release])?;
    let failed = |source| Error::File { path: out.to_owned(), source };
    fs::rename(root.join("initrd"), out).map_err(failed)?;
    fs::remove_dir_all(&root).map_err(failed)
}

/// Copies a folder, with its files as links where that can be.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        // Left by a run that was stopped, or empty in the package.
        fs::remove_dir_all(to).map_err(|source| Error::File { path: to.to_owned(), source })?;
    }
    process::output(Command::new("cp").args(["--archive", "--link"]).arg(from).arg(to))?;
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
