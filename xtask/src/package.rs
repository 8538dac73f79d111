//! `package`: a Debian package of the programs and everything that belongs to them.
//!
//! dpkg-deb writes it; two builds of one commit give the same bytes, because times come from the
//! commit, and owners, permissions, order and compression are given.

mod contents;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::debian;
use e2e::process;
use e2e::programs;
use purgatorio::facts::Arch;

use crate::dist;

/// The package's version: the programs'.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A package that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What goes into it could not be made.
    #[error(transparent)]
    Dist(#[from] dist::Error),
    /// A tool failed.
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
    /// The tree's time is not known.
    #[error("SOURCE_DATE_EPOCH is {value:?}: give the seconds since 1970 of the release")]
    Epoch {
        /// What it is.
        value: String,
    },
    /// Two builds differ.
    #[error("{first} and {second} differ: `diffoscope` shows where")]
    NotReproducible {
        /// The package.
        first: PathBuf,
        /// That of the second build.
        second: PathBuf,
    },
}

/// Makes the package for `arch` and returns its path.
pub fn package(arch: Arch) -> Result<PathBuf, Error> {
    let programs = dist::dist(arch)?;
    let epoch = epoch()?;
    let folder = programs::target().join("package");
    let architecture = architecture(arch);
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let root = tempfile::tempdir_in(&folder).map_err(failed(&folder))?;
    contents::write(root.path(), &programs, &changelog(&epoch)?)?;
    contents::write_control(root.path(), VERSION, architecture)?;
    let deb = folder.join(format!("purgatorio_{VERSION}_{architecture}.deb"));
    // Another run may be reading the old one.
    let new = root.path().with_extension("deb");
    build(root.path(), &epoch, &new)?;
    fs::rename(&new, &deb).map_err(failed(&deb))?;
    Ok(deb)
}

/// Builds everything a second time, from nothing and in another folder, and fails unless that
/// package has the same bytes as `first`.
pub fn check(arch: Arch, first: &Path) -> Result<(), Error> {
    let again = programs::target().join("package/again");
    if again.exists() {
        fs::remove_dir_all(&again).map_err(failed(&again))?;
    }
    let us = std::env::current_exe().map_err(failed(Path::new("/proc/self/exe")))?;
    process::output(
        Command::new(us)
            .args(["package", "--arch", arch.name()])
            .env("CARGO_TARGET_DIR", &again)
            .env("SOURCE_DATE_EPOCH", epoch()?),
    )?;
    let second = again.join("package").join(first.file_name().unwrap_or_default());
    let same = read(first)? == read(&second)?;
    if !same {
        return Err(Error::NotReproducible { first: first.to_owned(), second });
    }
    fs::remove_dir_all(&again).map_err(failed(&again))
}

/// Debian's name; for big-endian ppc64 that of the unofficial port.
fn architecture(arch: Arch) -> &'static str {
    debian::architecture(arch).unwrap_or(arch.name())
}

/// The time of everything in the package, in seconds since 1970: that of the last commit, unless
/// SOURCE_DATE_EPOCH says otherwise (reproducible-builds.org/specs/source-date-epoch).
fn epoch() -> Result<String, Error> {
    let value = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(value) => value,
        Err(_) => process::output(
            // The checkout may be another user's.
            Command::new("git")
                .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
                .current_dir(programs::root()),
        )?,
    };
    let value = value.trim().to_owned();
    if value.parse::<u64>().is_ok() { Ok(value) } else { Err(Error::Epoch { value }) }
}

fn changelog(epoch: &str) -> Result<String, Error> {
    let date = process::output(Command::new("date").args([
        "--utc",
        "--rfc-email",
        &format!("--date=@{epoch}"),
    ]))?;
    Ok(template("changelog")?.replace("{version}", VERSION).replace("{date}", date.trim()))
}

/// dpkg-deb sorts the names, and no file is newer than SOURCE_DATE_EPOCH. The output of xz depends
/// on whether it has threads.
fn build(root: &Path, epoch: &str, deb: &Path) -> Result<(), Error> {
    process::output(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
            .arg(root)
            .arg(deb)
            .env("SOURCE_DATE_EPOCH", epoch),
    )?;
    Ok(())
}

fn template(name: &str) -> Result<String, Error> {
    let path = template_path(name);
    fs::read_to_string(&path).map_err(failed(&path))
}

fn template_path(name: &str) -> PathBuf {
    programs::root().join("packaging/debian").join(name)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}
