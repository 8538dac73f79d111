//! `kdump unload`: a panic does what it did before `kdump load`.

use std::path::PathBuf;

use clap::Args;

use crate::kexec::{self, Kexec};
use crate::loaded::{self, Loaded};
use crate::lock::{self, Lock};
use crate::machine::Machine;

/// Options of `kdump unload`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Look at a copy of a machine's files below this directory
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    sysroot: PathBuf,
    /// The loader [default: the kexec beside this program, or the one in PATH]
    #[arg(long, value_name = "FILE")]
    kexec: Option<PathBuf>,
}

/// Why something is still loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Another one holds the lock, or there is nowhere to lock.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The loader failed.
    #[error(transparent)]
    Kexec(#[from] kexec::Error),
    /// The record cannot be removed.
    #[error(transparent)]
    Record(#[from] loaded::Error),
}

/// Unloads the capture kernel; without one there is nothing to do.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = Machine::at(&arguments.sysroot);
    let _lock = Lock::take(&machine)?;
    Kexec::find(arguments.kexec.as_deref()).run(&["-p".to_owned(), "-u".to_owned()])?;
    Loaded::remove(&machine)?;
    println!("kdump: unloaded");
    Ok(())
}
