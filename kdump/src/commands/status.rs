//! `kdump status`: what is loaded, and whether it would work.

use std::process::ExitCode;

use clap::Args;

use super::options::MachineOptions;
use crate::status::{self, Severity, Status, Verdict, check};

/// Options of `kdump status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 a panic would leave a dump, 1 nothing is loaded, 2 what is loaded \
    would fail or is stale, 3 it cannot be told"
)]
pub struct Arguments {
    #[command(flatten)]
    machine: MachineOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print nothing: the exit status says it
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Why the state cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something cannot be read.
    #[error(transparent)]
    Status(#[from] status::Error),
    /// The JSON cannot be made.
    #[error("cannot print the state")]
    Json(#[from] serde_json::Error),
}

/// Looks, and prints what is seen. The exit code is the verdict.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let machine = arguments.machine.machine();
    let settings = arguments.machine.settings();
    let status = match check(&machine, &settings, &arguments.machine.programs()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("kdump: {}", capture::console::chain(&error));
            return Ok(ExitCode::from(Verdict::Unknown as u8));
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else if !arguments.quiet {
        show(&status);
    }
    Ok(ExitCode::from(status.verdict as u8))
}

fn show(status: &Status) {
    println!("{}", in_words(status.verdict));
    if let Some(capture) = &status.capture {
        println!("  kernel    {} ({})", capture.kernel.path.display(), capture.kernel.release);
        println!("  image     {} ({} bytes)", capture.image.path.display(), capture.image.bytes);
        for target in &capture.targets {
            println!("  target    {}", target.target);
        }
    }
    println!("  reserved  {} MiB", status.reserved >> 20);
    for finding in &status.findings {
        let mark = match finding.severity() {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
        };
        println!("{mark}: {finding}");
    }
}

fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::WouldWork => "ready: a panic would leave a dump",
        Verdict::NotLoaded => "not ready: no capture kernel is loaded",
        Verdict::WouldFail => "not ready: a capture kernel is loaded, but not as it should be",
        Verdict::Unknown => "unknown: a capture kernel is loaded, but nothing is known of it",
    }
}
