//! The commands of `kdump`, one file for each: its options, and what it does with them.

pub mod mkinitrd;
pub mod mkinitrd_early;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No image was made.
    #[error(transparent)]
    Mkinitrd(#[from] mkinitrd::Failure),
}

impl Command {
    /// Carries the command out. Its exit code is 0 unless the command has others of its own.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Mkinitrd(arguments) => mkinitrd::run(arguments)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The path of another of our programs, which are installed in one directory.
fn beside_this(program: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(program)
}
