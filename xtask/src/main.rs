//! `cargo xtask`: the project's own commands.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod demo;
mod error;
mod manuals;
mod options;
mod run;

use std::process::ExitCode;

use clap::Parser;
use e2e::{programs, setup};

use error::Error;
use options::{Arch, Command, Options};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Demo => prepared(demo::demo),
        Command::Test(options) => prepared(|| checks::test(&options)),
        Command::E2e(options) => prepared(|| run::e2e(&options)),
        Command::Bench { json } => prepared(|| bench::bench(json.as_deref())),
        Command::Dist { arch: Arch::X86_64 } => dist(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {}", e2e::outcome::explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs `command` once the host has what it needs.
fn prepared(command: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
    setup::host(&programs::target().join("e2e/host-apt"))?;
    command()
}

fn dist() -> Result<bool, Error> {
    let folder = programs::dist()?;
    let share = folder.join("share");
    manuals::write(&share).map_err(|source| Error::Write { path: share, source })?;
    println!("{}", folder.display());
    Ok(true)
}
