//! The commands of `kdump`, one file for each: its options, and what it does with them.

pub mod rehearse;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::mkinitrd::command as mkinitrd;

/// Prepares a machine for saving the memory of a kernel that dies.
#[derive(Debug, Parser)]
#[command(name = "kdump", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Builds the initramfs of the capture kernel.
    Mkinitrd(mkinitrd::Arguments),
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
}

impl Command {
    /// Carries the command out. Its exit code is 0 unless the command has others of its own.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Mkinitrd(arguments) => mkinitrd::run(arguments)?,
            Self::Rehearse(arguments) => return Ok(rehearse::run(arguments)),
        }
        Ok(ExitCode::SUCCESS)
    }
}
