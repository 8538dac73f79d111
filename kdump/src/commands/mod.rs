//! The commands of `kdump`, one file for each (that of `mkinitrd` is beside what it makes): its
//! options, and what it does with them.

pub mod estimate;
pub mod inspect;
pub mod load;
mod options;
pub mod rehearse;
pub mod report;
pub mod save;
pub mod status;
pub mod unload;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::mkinitrd::command as mkinitrd;

/// Prepares a machine for saving the memory of a kernel that dies.
#[derive(Debug, Parser)]
#[command(
    name = "kdump",
    version,
    after_help = "To set a machine up: `kdump estimate` says what crashkernel= to boot with, \
    /etc/kdump.toml where dumps go, `kdump load` loads, `kdump status` says what is still missing, \
    and `kdump rehearse` tries it in a virtual machine. `systemctl enable --now kdump.service` keeps \
    it loaded."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Builds the initramfs of the capture kernel, or with -i the first kernel's.
    Mkinitrd(Box<mkinitrd::Arguments>),
    /// Loads the capture kernel, with an initramfs made as /etc/kdump.toml wants it.
    Load(load::Arguments),
    /// Unloads the capture kernel.
    Unload(unload::Arguments),
    /// Says whether a panic now would leave a dump.
    Status(status::Arguments),
    /// Saves the memory in a core again: filtered, compressed, or in another format.
    Save(save::Arguments),
    /// Says how much memory crashkernel= should reserve on this machine, and why.
    Estimate(estimate::Arguments),
    /// Says what a dump is, why its kernel died, and whether it is as it was saved.
    Inspect(inspect::Arguments),
    /// Lists the dumps that were saved: when, of which kernel, why, how large, in which state.
    Report(report::Arguments),
    /// Makes the kernel panic in a virtual machine: would a dump be saved?
    Rehearse(rehearse::Arguments),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No image was made.
    #[error(transparent)]
    Mkinitrd(#[from] mkinitrd::Error),
    /// Nothing new is loaded.
    #[error(transparent)]
    Load(#[from] load::Failure),
    /// Something is still loaded.
    #[error(transparent)]
    Unload(#[from] unload::Failure),
    /// The state cannot be told.
    #[error(transparent)]
    Status(#[from] status::Failure),
    /// Nothing complete was saved.
    #[error(transparent)]
    Save(#[from] save::Failure),
    /// There is no estimate.
    #[error(transparent)]
    Estimate(#[from] estimate::Failure),
    /// The dump cannot be looked at.
    #[error(transparent)]
    Inspect(#[from] inspect::Failure),
    /// There is no report.
    #[error(transparent)]
    Report(#[from] report::Failure),
}

/// The commands and their options, for man page and completions.
pub fn definition() -> clap::Command {
    Arguments::command()
}

impl Command {
    /// Carries the command out. Its exit code is 0 unless the command has others of its own.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Mkinitrd(arguments) => mkinitrd::run(arguments)?,
            Self::Load(arguments) => load::run(arguments)?,
            Self::Unload(arguments) => unload::run(arguments)?,
            Self::Status(arguments) => return Ok(status::run(arguments)?),
            Self::Save(arguments) => save::run(arguments)?,
            Self::Estimate(arguments) => estimate::run(arguments)?,
            Self::Inspect(arguments) => return Ok(inspect::run(arguments)?),
            Self::Report(arguments) => report::run(arguments)?,
            Self::Rehearse(arguments) => return Ok(rehearse::run(arguments)),
        }
        Ok(ExitCode::SUCCESS)
    }
}
