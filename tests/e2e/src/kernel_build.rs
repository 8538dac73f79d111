//! The big-endian ppc64 kernel. Debian has none, so it is built from Debian's source package with
//! Debian's cross compiler, once: the result is kept for this source, configuration and compiler.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use sha2::{Digest, Sha256};

use crate::debian::{self, Archive};
use crate::kernel::{self, Kernel};
use crate::process;

/// Which source package: bookworm's kernel.
const SOURCE: &str = "linux-source-6.1";
/// What is configured on top of `allnoconfig`.
const CONFIGURATION: &str = include_str!("../kernels/ppc64.config");
const CROSS_COMPILE: &str = "powerpc64-linux-gnu-";

/// A kernel that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its source is missing.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// A program failed.
    #[error("cannot build the big-endian kernel")]
    Build(#[from] process::Error),
    /// The configuration asks for something that this source does not have or allow.
    #[error("tests/e2e/kernels/ppc64.config: the kernel's configuration does not take {option}")]
    Option {
        /// The line.
        option: String,
    },
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was built lacks something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// The kernel from below `folder`, built there if it is missing. `tell` is given a line for each
/// step that takes long.
pub fn big_endian(archive: &Archive, folder: &Path, tell: &dyn Fn(&str)) -> Result<Kernel, Error> {
    let package = archive.package(SOURCE)?;
    let root = folder.join(cache_name(archive)?);
    if !root.is_dir() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        // A half-built kernel never gets the final name, and the source goes when it is done.
        let work = tempfile::tempdir_in(folder).map_err(failed(folder))?;
        let tarball = package.join("usr/src").join(format!("{SOURCE}.tar.xz"));
        let built = Build { folder: work.path() }.run(&tarball, tell)?;
        fs::rename(&built, &root).map_err(failed(&root))?;
    }
    Ok(Kernel::in_package("ppc64", &root)?)
}

/// `ppc64-VERSION-DIGEST`: another source, configuration or compiler makes another kernel.
fn cache_name(archive: &Archive) -> Result<String, Error> {
    let version = archive.version(SOURCE)?.unwrap_or_default();
    let compiler = format!("{CROSS_COMPILE}gcc");
    let compiler = process::output(Command::new(compiler).arg("-dumpfullversion"))?;
    let digest = Sha256::new().chain_update(CONFIGURATION).chain_update(compiler).finalize();
    let digest: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("ppc64-{version}-{digest}"))
}

/// A build in a folder of its own.
struct Build<'a> {
    folder: &'a Path,
}

impl Build<'_> {
    /// Returns a folder that is laid out like an unpacked kernel package.
    fn run(&self, tarball: &Path, tell: &dyn Fn(&str)) -> Result<PathBuf, Error> {
        tell("unpacking the kernel's source ...");
        let source = self.make_dir("source")?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--strip-components=1", "--directory"]).arg(&source);
        process::output(tar.arg("--file").arg(tarball))?;
        self.configure()?;
        tell("building the big-endian kernel, once (minutes) ...");
        process::output(self.make().arg("vmlinux"))?;
        let release = process::output(self.make().arg("kernelrelease"))?;
        self.collect(release.trim())
    }

    fn configure(&self) -> Result<(), Error> {
        let wanted = self.folder.join("wanted.config");
        fs::write(&wanted, CONFIGURATION).map_err(failed(&wanted))?;
        process::output(self.make().env("KCONFIG_ALLCONFIG", &wanted).arg("allnoconfig"))?;
        let config = self.output().join(".config");
        let config = fs::read_to_string(&config).map_err(failed(&config))?;
        match lost_option(CONFIGURATION, &config) {
            Some(option) => Err(Error::Option { option: option.to_owned() }),
            None => Ok(()),
        }
    }

    fn make(&self) -> Command {
        let mut command = Command::new("make");
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        command
            .args(["--silent", &format!("--jobs={jobs}"), "--directory"])
            .arg(self.folder.join("source"))
            .arg(format!("O={}", self.output().display()))
            .args(["ARCH=powerpc", &format!("CROSS_COMPILE={CROSS_COMPILE}")])
            // The same input gives the same kernel.
            .args(["KBUILD_BUILD_USER=e2e", "KBUILD_BUILD_HOST=e2e"])
            .arg("KBUILD_BUILD_TIMESTAMP=2026-01-01");
        command
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    fn collect(&self, release: &str) -> Result<PathBuf, Error> {
        let root = self.make_dir("root")?;
        self.make_dir("root/boot")?;
        self.make_dir(&format!("root/lib/modules/{release}"))?;
        for (from, to) in [
            ("vmlinux", format!("boot/vmlinux-{release}")),
            (".config", format!("boot/config-{release}")),
            ("modules.builtin", format!("lib/modules/{release}/modules.builtin")),
        ] {
            let to = root.join(to);
            fs::copy(self.output().join(from), &to).map_err(failed(&to))?;
        }
        Ok(root)
    }

    fn make_dir(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(path)
    }
}

/// The first line of `wanted` that is not in `config`.
fn lost_option<'a>(wanted: &'a str, config: &str) -> Option<&'a str> {
    let mut options = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    options.find(|option| !config.lines().any(|line| line == *option))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_was_not_taken_is_found() {
        let wanted = "# a comment\nCONFIG_A=y\nCONFIG_B=32\n";
        assert_eq!(lost_option(wanted, "CONFIG_B=32\nCONFIG_A=y\n"), None);
        assert_eq!(lost_option(wanted, "CONFIG_A=y\nCONFIG_B=320\n"), Some("CONFIG_B=32"));
        assert_eq!(lost_option(wanted, "# CONFIG_A is not set\n"), Some("CONFIG_A=y"));
    }
}
