//! What is tried on a machine, and what proves that it worked.

pub mod bad_input;
mod compare_peer;
pub mod corrupt;
pub mod crash;
pub mod dropin;
pub mod early;
mod guest;
mod kept;
pub mod list;
pub mod network;
pub mod operator;
pub mod package;
mod payloads;
mod proof;
pub mod readers;
pub mod reboot;
pub mod rehearse;
pub mod save;
mod secure_boot;
pub mod trigger;

use std::time::Duration;

use crate::readers as other_readers;
use crate::{disk, dump, lab, medium, qemu, server};

/// How long any single step of a guest may take. Far above what it takes (seconds), for slow and
/// busy hosts.
const PATIENCE: Duration = Duration::from_secs(300);

/// A scenario whose proof did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine could not be set up.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// The machine did not do what it should.
    #[error(transparent)]
    Qemu(#[from] qemu::Error),
    /// The dump's disk cannot be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A disk cannot be made or read.
    #[error(transparent)]
    Medium(#[from] medium::Error),
    /// A server does not run.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The dump is not what it should be.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// Another reader of dumps cannot be asked.
    #[error(transparent)]
    Readers(#[from] other_readers::Error),
    /// A file of the run cannot be read.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A payload kernel was not entered as it should.
    #[error("{name}")]
    Payload {
        /// Which.
        name: &'static str,
        /// Why.
        source: Box<Error>,
    },
    /// The kernel cannot be unpacked.
    #[error("{path}: {reason}")]
    Unpack {
        /// The kernel.
        path: std::path::PathBuf,
        /// What the loader's library says.
        reason: String,
    },
    /// Something that was to be seen was not.
    #[error("{0}")]
    Proof(String),
}

impl From<qemu::serial::Error> for Error {
    fn from(error: qemu::serial::Error) -> Self {
        Self::Qemu(error.into())
    }
}

impl From<qemu::qmp::Error> for Error {
    fn from(error: qemu::qmp::Error) -> Self {
        Self::Qemu(error.into())
    }
}

impl From<qemu::gdb::Error> for Error {
    fn from(error: qemu::gdb::Error) -> Self {
        Self::Qemu(error.into())
    }
}

/// Fails with `reason` unless `holds`.
fn prove(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Proof(reason())) }
}
