//! `kdump`: the operator's tool.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use kdump::commands::Arguments;

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("kdump: {}", capture::console::chain(&failure));
            ExitCode::FAILURE
        }
    }
}
