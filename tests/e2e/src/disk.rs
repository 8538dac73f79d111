//! The dump target: an ext4 image, made and read with e2fsprogs, so that nothing is mounted.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The file system's UUID: fixed, so that two runs see the same disk.
const UUID: &str = "6b64756d-7000-4000-8000-706972677461";
/// Its label.
const LABEL: &str = "kdump";
/// The file system as a dump target.
pub const TARGET: &str = "LABEL=kdump";

/// A disk that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be made.
    #[error("{path}: cannot make the disk image")]
    Make {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// mke2fs or debugfs failed.
    #[error(transparent)]
    Tool(#[from] process::Error),
    /// The file is not on the disk.
    #[error("{image}: no file {path} in its file system")]
    Missing {
        /// The image.
        image: PathBuf,
        /// What was looked for.
        path: String,
    },
}

/// A raw image with one ext4 file system over the whole disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The image.
    pub image: PathBuf,
}

impl Disk {
    /// Makes an empty disk of `mebibytes`; the image is sparse.
    pub fn create(image: &Path, mebibytes: u64) -> Result<Self, Error> {
        Self::make(image, mebibytes, &[])
    }

    /// The same, with the files of `folder` on it.
    pub fn with_files(image: &Path, mebibytes: u64, folder: &Path) -> Result<Self, Error> {
        Self::make(image, mebibytes, &["-d".as_ref(), folder.as_os_str()])
    }

    fn make(image: &Path, mebibytes: u64, more: &[&OsStr]) -> Result<Self, Error> {
        let failed = |source| Error::Make { path: image.to_owned(), source };
        let file = File::create(image).map_err(failed)?;
        file.set_len(mebibytes << 20).map_err(failed)?;
        process::output(
            Command::new("mke2fs")
                .args(["-q", "-F", "-t", "ext4", "-U", UUID, "-L", LABEL])
                .args(["-E", &format!("hash_seed={UUID},lazy_itable_init=0")])
                .args(more)
                .arg(image)
                .env("E2FSPROGS_FAKE_TIME", "1767225600")
                .env("PATH", kdump::search_path::with_sbin()),
        )?;
        Ok(Self { image: image.to_owned() })
    }

    /// Copies `path` of the file system to the host's file `to`.
    pub fn copy_out(&self, path: &str, to: &Path) -> Result<(), Error> {
        // debugfs exits with 0 whether the file is there or not.
        self.debugfs(&format!("dump {path} {}", to.display()))?;
        let copied = fs::metadata(to).is_ok_and(|metadata| metadata.len() > 0);
        copied
            .then_some(())
            .ok_or_else(|| Error::Missing { image: self.image.clone(), path: path.into() })
    }

    /// The names in the folder `path` of the file system.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        // One line for each entry: /inode/mode/uid/gid/name/size/
        let listing = self.debugfs(&format!("ls -p {path}"))?;
        let names = listing.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names.filter(|name| !matches!(*name, "." | "..")).map(str::to_owned).collect())
    }

    fn debugfs(&self, request: &str) -> Result<String, Error> {
        Ok(process::output(
            Command::new("debugfs")
                .args(["-R", request])
                .arg(&self.image)
                .env("PATH", kdump::search_path::with_sbin()),
        )?)
    }
}
