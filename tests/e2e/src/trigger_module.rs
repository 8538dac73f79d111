//! A module that brings the kernel down from inside, built with the headers that Debian has for
//! the kernel: lkdtm, which could do it, is in none of Debian's kernels.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use purgatorio::facts::Arch;

use crate::debian::{self, Archive};
use crate::kernel::Kernel;
use crate::process;
use crate::programs;

/// A module that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// make failed.
    #[error(transparent)]
    Build(#[from] process::Error),
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The release does not end as Debian's do.
    #[error("{release} is no release of a Debian kernel: expected VERSION-FLAVOUR")]
    Release {
        /// The kernel's release.
        release: String,
    },
}

/// Builds the module for `kernel` at `out`. `archive` has the kernel's headers, `tools` the host's
/// kernel build tools.
pub fn build(
    archive: &Archive,
    tools: &Archive,
    arch: Arch,
    kernel: &Kernel,
    out: &Path,
) -> Result<(), Error> {
    if out.exists() {
        return Ok(());
    }
    let release = kernel.release();
    let version = abi(&release).ok_or_else(|| Error::Release { release: release.clone() })?;
    let headers = archive.package(&format!("linux-headers-{release}"))?;
    let common = archive.package(&format!("linux-headers-{version}-common"))?;
    let kbuild = tools.package("linux-kbuild-6.1")?;

    // The packages refer to each other by their places on a Debian system: put them together.
    let work = out.with_extension("build");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    if work.exists() {
        fs::remove_dir_all(&work).map_err(failed(&work))?;
    }
    fs::create_dir_all(&work).map_err(failed(&work))?;
    for package in [&headers, &common, &kbuild] {
        process::output(Command::new("cp").arg("--archive").arg(package.join("usr")).arg(&work))?;
    }
    let source = programs::root().join("tests/e2e/kernels/trigger");
    let module = work.join("module");
    process::output(Command::new("cp").arg("--recursive").arg(&source).arg(&module))?;
    let sources = work.join("usr/src");
    process::output(
        Command::new("make")
            .arg("-C")
            .arg(sources.join(format!("linux-headers-{release}")))
            .arg("-f")
            .arg(sources.join(format!("linux-headers-{version}-common/Makefile")))
            .arg(format!("M={}", module.display()))
            .args([format!("ARCH={}", kernel_arch(arch)), format!("KERNELRELEASE={release}")])
            .arg(format!("CC={}gcc", cross(arch)))
            .arg(format!("CROSS_COMPILE={}", cross(arch)))
            .arg("modules"),
    )?;
    let built = module.join("e2e_trigger.ko");
    process::output(
        Command::new(format!("{}strip", cross(arch))).arg("--strip-debug").arg(&built),
    )?;
    fs::rename(&built, out).map_err(failed(out))?;
    fs::remove_dir_all(&work).map_err(failed(&work))
}

/// The part of a release that names its headers for all flavours: of `6.1.0-56-cloud-amd64` it is
/// `6.1.0-56`.
fn abi(release: &str) -> Option<&str> {
    let (end, _) = release.match_indices('-').nth(1)?;
    Some(&release[..end])
}

/// The kernel's name for the architecture.
const fn kernel_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 | Arch::I386 => "x86",
        Arch::Ppc64le | Arch::Ppc64 => "powerpc",
    }
}

/// What the names of the architecture's compiler begin with.
const fn cross(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 | Arch::I386 => "",
        Arch::Ppc64le => "powerpc64le-linux-gnu-",
        Arch::Ppc64 => "powerpc64-linux-gnu-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version_and_a_flavour() {
        assert_eq!(abi("6.1.0-56-cloud-amd64"), Some("6.1.0-56"));
        assert_eq!(abi("6.1.0-50-686-pae"), Some("6.1.0-50"));
        assert_eq!(abi("6.1.192"), None);
    }
}
