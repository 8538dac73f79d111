//! Where log, dump and manifest go: one kind of place for each [`Target`].

mod directory;
mod filesystem;

use std::io;
use std::path::PathBuf;

use crate::config::{Config, Target};
use crate::manifest::Manifest;
use crate::vmcore::{self, Vmcore};
use crate::{address, block, dump, mount, printk};

/// Why a target did not get everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The core cannot be used.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The device cannot be used.
    #[error(transparent)]
    Block(#[from] block::Error),
    /// The file system cannot be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// The dump was not written.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// The log was not written.
    #[error(transparent)]
    Log(#[from] printk::Error),
    /// The log cannot be looked for.
    #[error("cannot read the dead kernel's memory")]
    Memory(#[from] address::Error),
    /// The file system has too little space, seen before writing.
    #[error(
        "the target has {available} bytes free and the dump needs about {needed}: free {} bytes, \
         or name a larger target", needed - available
    )]
    Space {
        /// Free bytes.
        available: u64,
        /// Bytes of the dump.
        needed: u64,
    },
    /// A file or directory cannot be made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// This program cannot reach it.
    #[error("this capture program has no such target")]
    Unsupported,
}

/// A target that is ready to be written.
#[derive(Debug)]
pub enum Destination {
    /// A file system on a block device.
    Filesystem(filesystem::Mounted),
}

impl Destination {
    /// Makes `target` ready for the dump of `core`: waits for it, mounts it, makes the dump's own
    /// directory.
    pub fn open(target: &Target, config: &Config, core: &Vmcore) -> Result<Self, Error> {
        match target {
            Target::Filesystem { device, filesystem, path } => {
                let mounted = filesystem::open(device, *filesystem, path, config, core)?;
                Ok(Self::Filesystem(mounted))
            }
            Target::Raw { .. } | Target::Nfs { .. } | Target::Ssh { .. } => Err(Error::Unsupported),
        }
    }

    /// Where the dump will be found, as a user of the target sees it.
    pub fn place(&self) -> String {
        match self {
            Self::Filesystem(mounted) => mounted.directory.place(),
        }
    }

    /// Saves the dead kernel's log; returns the number of its records.
    pub fn save_log(&mut self, core: &Vmcore) -> Result<u64, Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_log(core),
        }
    }

    /// Saves the dump until it is on the disk and read back, and gives it its final name. Returns
    /// what was saved, and its SHA-256.
    pub fn save_dump(
        &mut self,
        core: &Vmcore,
        options: &dump::Options,
        progress: &mut dyn FnMut(&dump::Progress),
    ) -> Result<(dump::Saved, [u8; 32]), Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_dump(core, options, progress),
        }
    }

    /// Saves what can be said about the dump.
    pub fn save_manifest(&mut self, manifest: &Manifest) -> Result<(), Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_manifest(manifest),
        }
    }

    /// Writes everything out and lets go of the target.
    pub fn close(self) -> Result<(), Error> {
        match self {
            Self::Filesystem(mounted) => mounted.close(),
        }
    }
}
