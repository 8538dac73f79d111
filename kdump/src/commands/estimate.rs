//! `kdump estimate`: how much memory `crashkernel=` should reserve.

use clap::Args;
use purgatorio::machine::{MachineError, status};
use serde::Serialize;

use super::options::MachineOptions;
use crate::estimate::{self, Estimate, estimate};
use crate::prepare::{self, prepare};
use crate::settings;

/// Options of `kdump estimate`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    machine: MachineOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// Kernel or image cannot be had.
    #[error(transparent)]
    Prepare(#[from] prepare::Error),
    /// The kernel's file does not say what it needs.
    #[error(transparent)]
    Estimate(#[from] estimate::Error),
    /// The kernel does not say what is reserved.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The JSON cannot be made.
    #[error("cannot print the estimate")]
    Json(#[from] serde_json::Error),
}

/// The estimate beside what is reserved.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// Bytes.
    reserved: u64,
    /// What to write on the kernel's command line.
    crashkernel: String,
    #[serde(flatten)]
    estimate: &'a Estimate,
}

/// Estimates, and prints it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = arguments.machine.machine();
    let settings = arguments.machine.settings()?;
    let prepared = prepare(&machine, &settings, &arguments.machine.programs())?;
    let estimate = estimate(&machine, &prepared)?;
    let reserved = status::crash_size(&machine.sysroot())?.unwrap_or(0);
    let crashkernel = format!("crashkernel={}M", estimate.total >> 20);
    let answer = Answer { reserved, crashkernel, estimate: &estimate };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        show(&answer);
    }
    Ok(())
}

fn show(answer: &Answer<'_>) {
    println!("{}", answer.crashkernel);
    for part in &answer.estimate.parts {
        println!("  {:>7} KiB  {}: {}", part.bytes.div_ceil(1024), part.what, part.why);
    }
    let reserved = answer.reserved >> 20;
    match answer.reserved {
        0 => println!("nothing is reserved now"),
        enough if enough >= answer.estimate.total => {
            println!("{reserved} MiB are reserved: enough")
        }
        _less => println!("{reserved} MiB are reserved: less than estimated"),
    }
}
