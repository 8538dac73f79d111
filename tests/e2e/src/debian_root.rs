//! A small Debian system with systemd, kexec-tools and kdump-tools, in a folder.
//!
//! apt fetches what every system has and what that needs ([`Archive`]); dpkg installs it in the
//! folder itself, as debootstrap does.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chroot;
use crate::debian::{self, Archive};
use crate::process;
use crate::setup;

/// What is installed, with what it depends on.
const PACKAGES: [&str; 6] =
    ["?essential", "systemd-sysv", "udev", "initramfs-tools", "makedumpfile", "kdump-tools"];
/// What the others' scripts call before dpkg can know of it.
const FIRST: [&str; 5] = ["base-passwd", "base-files", "dpkg", "libc6", "mawk"];
/// The name of all of them in the archive's cache.
pub const NAME: &str = "debian-root";
/// No package starts a service (Debian policy 9.3.3.1, policy-rc.d).
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// A system that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// dpkg gives files to users of the system.
    #[error("a Debian system can only be made by root")]
    NotRoot,
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

/// Makes the system at the first call and keeps it as `out`.
pub fn build(archive: &Archive, out: &Path) -> Result<(), Error> {
    if out.exists() {
        return Ok(());
    }
    if !setup::is_root() {
        return Err(Error::NotRoot);
    }
    let unpacked = archive.with_dependencies(NAME, &PACKAGES)?;
    let root = out.with_extension("new");
    copy(&unpacked, &root)?;
    let services = root.join("usr/sbin/policy-rc.d");
    fs::write(&services, NO_SERVICES)
        .and_then(|()| fs::set_permissions(&services, fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::File { path: services, source })?;
    let status = root.join("var/lib/dpkg/status");
    fs::write(&status, "").map_err(|source| Error::File { path: status, source })?;

    let debs = archive.debs(NAME)?;
    let debs: Vec<&Path> = debs.iter().map(PathBuf::as_path).collect();
    let is_first = |deb: &Path| FIRST.iter().any(|name| is_of(deb, name));
    let first: Vec<&Path> = debs.iter().copied().filter(|deb| is_first(deb)).collect();
    install(&root, &first)?;
    install(&root, &debs)?;
    fs::rename(&root, out).map_err(|source| Error::File { path: out.to_owned(), source })
}

/// Copies the system `from` to `to`, which is replaced.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { path: to.to_owned(), source };
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed)?;
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    process::output(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(from).arg(to))?;
    Ok(())
}

/// Installs packages in the system in `root`, in any order, and configures them.
pub fn install(root: &Path, debs: &[&Path]) -> Result<(), Error> {
    let folder = root.join("debs");
    let failed = |source| Error::File { path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let mut dpkg = chroot::command(root, "dpkg");
    // Without waiting for the disk: what is left by a host that was lost is made anew.
    dpkg.args(["--force-depends", "--force-unsafe-io", "--force-confold", "--install"]);
    for deb in debs {
        let name = deb.file_name().unwrap_or_default();
        fs::copy(deb, folder.join(name)).map_err(failed)?;
        dpkg.arg(Path::new("/debs").join(name));
    }
    process::output(&mut dpkg)?;
    fs::remove_dir_all(&folder).map_err(failed)
}

/// Whether the file `deb`, called NAME_VERSION_ARCHITECTURE.deb, is the package `package`.
pub fn is_of(deb: &Path, package: &str) -> bool {
    let file = deb.file_name().unwrap_or_default().to_string_lossy();
    file.split('_').next() == Some(package)
}
