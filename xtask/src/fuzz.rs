//! `fuzz`: hostile input for every parser (docs/reliability.md).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::process;
use e2e::programs;

use crate::options::FuzzOptions;

/// A target could not be run, or found something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of it could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such target.
    #[error("no target is called {target:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        target: String,
        /// What there is.
        known: String,
    },
    /// The targets could not be built.
    #[error("cannot build the fuzz targets")]
    Build(#[source] process::Error),
    /// An input was found that breaks the target's promise.
    #[error("{target}: {log} says what it found, and where the input is")]
    Found {
        /// Which target.
        target: String,
        /// What libFuzzer wrote.
        log: PathBuf,
        /// How it ended.
        source: process::Error,
    },
    /// libFuzzer did not say what it did.
    #[error("{target}: {log} has no statistics")]
    NoStatistics {
        /// Which target.
        target: String,
        /// What libFuzzer wrote.
        log: PathBuf,
    },
}

/// How long a target runs.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// The committed seeds and this many inputs made from them, with a fixed seed.
    Inputs(u32),
    /// As many seconds, from all that earlier runs found.
    Seconds(u32),
}

/// In `cargo xtask test`: about a minute of one CPU for all targets.
pub const SHORT: Length = Length::Inputs(20_000);

/// What a run was.
#[derive(Clone, Debug)]
pub struct Run {
    /// How many inputs the target was run with.
    pub executions: u64,
    /// How many edges of the program's flow of control they reached.
    pub edges: u64,
}

/// The targets, by name: each is a file of that name.
pub fn targets() -> Result<Vec<String>, Error> {
    let path = folder().join("targets");
    let entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| Error::File { path, source })?;
    let stem = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.into_iter().filter_map(stem).collect();
    names.sort();
    Ok(names)
}

/// Builds all targets, for coverage.
pub fn build() -> Result<(), Error> {
    // The flags are in fuzz/.cargo/config.toml, which cargo reads where it runs.
    let mut cargo = programs::cargo();
    // Whatever the rest of the tree is built with, and into which folder.
    cargo.env("CARGO_TARGET_DIR", programs::target().join("fuzz"));
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.current_dir(folder()).args(["build", "--release", "--quiet", "--locked"]);
    process::run(&mut cargo).map_err(Error::Build)
}

/// Runs a target that was built.
pub fn run(target: &str, length: Length) -> Result<Run, Error> {
    let work = programs::target().join("fuzz");
    let log = work.join("logs").join(target);
    let found = work.join("found").join(target);
    // Some targets write small files for each input, and sync them.
    let in_memory = Path::new("/dev/shm");
    let scratch = tempfile::tempdir_in(in_memory)
        .map_err(|source| Error::File { path: in_memory.to_owned(), source })?;
    let corpus = match length {
        Length::Inputs(_) => scratch.path().join("corpus"),
        Length::Seconds(_) => work.join("corpus").join(target),
    };
    for folder in [&corpus, &found, &work.join("logs")] {
        make(folder)?;
    }
    let output = fs::File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = output.map_err(|source| Error::File { path: log.clone(), source })?;

    let mut command = Command::new(work.join("x86_64-unknown-linux-gnu/release").join(target));
    command.arg(&corpus);
    let seeds = folder().join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    match length {
        // Long inputs at once: the run is over before libFuzzer would come to them.
        Length::Inputs(inputs) => {
            command.args([format!("-runs={inputs}"), "-seed=1".into(), "-len_control=0".into()])
        }
        Length::Seconds(seconds) => command.arg(format!("-max_total_time={seconds}")),
    };
    command
        // Of an input, on a machine that does much else.
        .arg("-timeout=60")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", found.display()))
        .env("TMPDIR", scratch.path())
        .stdout(out)
        .stderr(err);
    process::run(&mut command).map_err(|source| Error::Found {
        target: target.to_owned(),
        log: log.clone(),
        source,
    })?;
    let text = fs::read_to_string(&log);
    let text = text.map_err(|source| Error::File { path: log.clone(), source })?;
    statistics(&text).ok_or_else(|| Error::NoStatistics { target: target.to_owned(), log })
}

/// `fuzz`: the targets that were asked for, one after the other. True if none found anything.
pub fn fuzz(options: &FuzzOptions) -> Result<bool, Error> {
    let all = targets()?;
    if let Some(target) = options.target.iter().find(|target| !all.contains(target)) {
        return Err(Error::Unknown { target: target.clone(), known: all.join(", ") });
    }
    build()?;
    let wanted = |name: &&String| options.target.is_empty() || options.target.contains(name);
    let mut nothing_found = true;
    for target in all.iter().filter(wanted) {
        let length = options.seconds.map_or(SHORT, Length::Seconds);
        match run(target, length) {
            Ok(Run { executions, edges }) => {
                println!("{target}: {executions} executions, {edges} edges");
            }
            Err(error) => {
                nothing_found = false;
                println!("{target}: FOUND {}", e2e::outcome::explain(&error));
            }
        }
    }
    Ok(nothing_found)
}

/// libFuzzer's last words: `stat::number_of_executed_units: N`, and `cov: N` in its last line of
/// progress.
fn statistics(log: &str) -> Option<Run> {
    let number = |line: &str| line.split_whitespace().next()?.parse().ok();
    let executions = log.split("stat::number_of_executed_units:").nth(1).and_then(number)?;
    let edges = log.rsplit(" cov: ").next().and_then(number)?;
    Some(Run { executions, edges })
}

fn folder() -> PathBuf {
    programs::root().join("fuzz")
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_numbers_count() {
        let log = "#2 INITED cov: 7 ft: 8\n#100 DONE   cov: 532 ft: 900 corp: 3/9b\n\
                   stat::number_of_executed_units: 10021\nstat::peak_rss_mb: 40\n";
        let run = statistics(log).unwrap();
        assert_eq!((run.executions, run.edges), (10021, 532));
        assert!(statistics("#2 INITED cov: 7").is_none());
    }
}
