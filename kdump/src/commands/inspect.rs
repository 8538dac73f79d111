//! `kdump inspect`: what a dump is, and whether it is as it was saved.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::inspect::{self, Inspection, inspect};

/// Options of `kdump inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 all that was checked is good, 1 it is not")]
pub struct Arguments {
    /// A dump, or the directory that it was saved in
    #[arg(value_name = "DUMP")]
    dump: PathBuf,
    /// Print the dead kernel's log and nothing else
    #[arg(long, conflicts_with = "json")]
    log: bool,
    /// Read every page, even if the checksum is right
    #[arg(long)]
    pages: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why the dump cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It cannot be read, or is none.
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
    /// Standard output does not take it.
    #[error("cannot print the log")]
    Print(#[source] io::Error),
    /// The JSON cannot be made.
    #[error("cannot print what was found")]
    Json(#[from] serde_json::Error),
}

/// Looks at the dump. The exit code tells whether everything that was checked is good.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.log {
        let log = inspect::log(&arguments.dump)?;
        return match io::stdout().write_all(log.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
            // Or whoever reads it has seen enough.
            Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
        };
    }
    let found = inspect(&arguments.dump, arguments.pages)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        show(&found);
    }
    let good = found.checks.iter().all(|check| check.good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(found: &Inspection) {
    let unknown = "unknown";
    let text = |value: &Option<String>| value.as_deref().unwrap_or(unknown).to_owned();
    let contents = &found.contents;
    println!("dump         {} ({} bytes)", found.file.display(), found.bytes);
    println!("kernel       {} ({})", text(&found.release), found.machine);
    println!("build id     {}", text(&found.build_id));
    println!("died         {}", text(&found.crash_time));
    println!("cause        {}", text(&found.cause));
    println!("CPUs         {}", found.cpus);
    println!("memory       {} MiB in pages of {} bytes", found.memory >> 20, contents.page_size);
    println!("format       {}, compression {}", contents.format, contents.compression);
    let level = contents.level.map_or_else(|| unknown.to_owned(), |level| level.to_string());
    println!("dump level   {level}");
    println!("pages        {} of {} are in the dump", contents.kept, contents.pages);
    for (kind, count) in dropped(contents.dropped.as_ref()) {
        println!("    {kind}: {count}");
    }
    for check in &found.checks {
        let verdict = if check.good { "good" } else { "BAD" };
        println!("{:<12} {verdict}: {}", check.what, check.seen);
    }
}

/// What the manifest says of the pages, by kind.
fn dropped(pages: Option<&serde_json::Value>) -> impl Iterator<Item = (&String, u64)> {
    let kinds = pages.and_then(serde_json::Value::as_object).into_iter().flatten();
    kinds.filter_map(|(kind, count)| Some((kind, count.as_u64().filter(|count| *count > 0)?)))
}
