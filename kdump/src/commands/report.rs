//! `kdump report`: the dumps that were saved, in a table.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::options::MachineOptions;
use crate::machine::{Machine, ReadError};
use crate::mounts;
use crate::prepare::{self, node_of};
use crate::saved::{self, Saved, cause};
use crate::settings;

/// Options of `kdump report`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the dumps are [default: the directory of each target that is mounted]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// There is no target.
    #[error(transparent)]
    Prepare(#[from] prepare::Error),
    /// What is mounted cannot be told.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A directory or log cannot be read.
    #[error(transparent)]
    Saved(#[from] saved::Error),
    /// No target is mounted.
    #[error("no target is mounted: mount one, or name the directory of its dumps")]
    NotMounted,
    /// The JSON cannot be made.
    #[error("cannot print the report")]
    Json(#[from] serde_json::Error),
}

/// One saved dump.
#[derive(Debug, Serialize)]
struct Row {
    when: Option<String>,
    kernel: Option<String>,
    bytes: u64,
    seconds: Option<f64>,
    state: String,
    why: Option<String>,
    directory: PathBuf,
}

/// Prints the table.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let directories = match &arguments.directory {
        Some(directory) => vec![directory.clone()],
        None => directories(&arguments.machine)?,
    };
    let mut rows = Vec::new();
    for directory in directories.iter().filter(|directory| directory.is_dir()) {
        for saved in Saved::all(directory)? {
            rows.push(row(&saved)?);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        show(&rows);
    }
    Ok(())
}

/// Where the targets on this machine have their dumps.
fn directories(options: &MachineOptions) -> Result<Vec<PathBuf>, Failure> {
    let machine = options.machine();
    let config = prepare::config(&machine, &options.settings()?)?;
    let mounts = mounts::read(&machine)?;
    let mut found = Vec::new();
    for target in &config.targets {
        let (Some(path), Some(node)) = (target.path(), node_of(&machine, target)) else { continue };
        let mounted = mounts::of_device(&mounts, &machine, &node);
        found.extend(mounted.and_then(|mount| seen_at(&machine, mount, path)));
    }
    if found.is_empty() { Err(Failure::NotMounted) } else { Ok(found) }
}

/// Where the directory `path` of a file system is seen, if what is mounted has it.
fn seen_at(machine: &Machine, mount: &mounts::Mount, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(&mount.root).ok()?;
    Some(machine.of_absolute(&mount.point.join(below)))
}

fn row(saved: &Saved) -> Result<Row, Failure> {
    let manifest = saved.manifest.clone().unwrap_or_default();
    let log = saved.log_text()?;
    Ok(Row {
        when: manifest.crash_time.or(manifest.started),
        kernel: manifest.kernel.release,
        bytes: saved.bytes,
        seconds: manifest.timeline.and_then(|timeline| timeline.seconds()),
        state: saved.state(),
        why: log.as_deref().and_then(cause).map(str::to_owned),
        directory: saved.directory.clone(),
    })
}

fn show(rows: &[Row]) {
    if rows.is_empty() {
        println!("no dumps");
        return;
    }
    let unknown = || "?".to_owned();
    println!("{:<20}  {:<24}  {:>10}  {:>7}  STATE", "WHEN", "KERNEL", "KIB", "SECONDS");
    for row in rows {
        println!(
            "{:<20}  {:<24}  {:>10}  {:>7}  {}",
            row.when.clone().unwrap_or_else(unknown),
            row.kernel.clone().unwrap_or_else(unknown),
            row.bytes.div_ceil(1024),
            row.seconds.map_or_else(unknown, |seconds| format!("{seconds:.1}")),
            row.state,
        );
        println!("    {}", row.directory.display());
        println!("    {}", row.why.as_deref().unwrap_or("the log does not say why"));
    }
}
