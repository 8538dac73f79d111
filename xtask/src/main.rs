//! `cargo xtask`: the project's own commands.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod demo;
mod dist;
mod error;
mod fuzz;
mod manuals;
mod options;
mod package;
mod report;
mod run;
mod system_files;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use e2e::{programs, setup};
use purgatorio::facts::Arch;

use error::Error;
use options::{Command, Options};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Demo => prepared(&[Arch::X86_64], demo::demo),
        Command::Test(options) => prepared(&options.needs(), || checks::test(&options)),
        Command::E2e(options) => {
            let archs = options.scenario.needs(options.arch.into());
            prepared(&archs, || run::e2e(&options))
        }
        Command::Bench { dump: Some(core), json, .. } => {
            prepared(&[Arch::X86_64], || bench::bench_dump(core.as_deref(), json.as_deref()))
        }
        Command::Bench { arch, counts_only, dump: None, json } => {
            let archs = options::these_or_all(&arch);
            prepared(&archs, || bench::bench(&archs, counts_only, json.as_deref()))
        }
        Command::Report(options) => {
            report::report(&options.files()).map(|()| true).map_err(Error::from)
        }
        Command::Fuzz(options) => fuzz::fuzz(&options).map_err(Error::from),
        Command::Dist { arch } => dist(arch.into()),
        Command::Package { arch, check } => package(arch.into(), check),
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

/// Runs `command` once the host has what it needs for machines of these architectures.
fn prepared(archs: &[Arch], command: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
    setup::host(&apt_folder(), archs)?;
    command()
}

fn dist(arch: Arch) -> Result<bool, Error> {
    setup::builds(&apt_folder(), &[arch])?;
    println!("{}", dist::dist(arch)?.display());
    Ok(true)
}

fn package(arch: Arch, check: bool) -> Result<bool, Error> {
    setup::builds(&apt_folder(), &[arch])?;
    let package = package::package(arch)?;
    if check {
        package::check(arch, &package)?;
    }
    println!("{}", package.display());
    Ok(true)
}

fn apt_folder() -> PathBuf {
    programs::target().join("e2e/host-apt")
}
