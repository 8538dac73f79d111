//! `kdump`: the operator's tool.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kdump::mkinitrd;

/// Prepares a machine for saving the memory of a kernel that dies.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Mkinitrd(mkinitrd::command::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Mkinitrd(arguments) => mkinitrd::command::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kdump: {}", capture::console::chain(&failure));
            ExitCode::FAILURE
        }
    }
}
