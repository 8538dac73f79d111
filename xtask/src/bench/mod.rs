//! `cargo xtask bench`: what our loader and purgatory cost, side by side with the peer's
//! (Debian's kexec-tools) in one run; with `--dump` what our dump writer costs (see [`dump`]).
//!
//! Guest instructions come from QEMU's `-icount` and the counting plugin, so they do not depend on
//! the host and two runs agree; both kernels run with `nokaslr`, because where a kernel lands
//! would change the count. Seconds and MB/s are those of the host and are only as good as it is
//! idle. docs/performance.md explains the figures.

mod crash;
mod digest;
mod dump;
mod figure;
mod guest;
mod reboot;
mod size;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};

use e2e::lab::{self, Lab};
use e2e::outcome::explain;
use e2e::{debian, process, programs, qemu, scenario};
use purgatorio::facts::Arch;
use serde::Serialize;

use figure::Figure;
use subject::Subject;

/// A figure that could not be measured. One whose goal was not reached is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kernels, loaders or machines could not be had.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// The peer's source could not be fetched.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// A program of the host failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A program of ours could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A machine did not run.
    #[error(transparent)]
    Qemu(#[from] qemu::Error),
    /// A scenario that is measured failed.
    #[error(transparent)]
    Scenario(#[from] scenario::Error),
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A command in the guest failed.
    #[error("{run}: `{command}` in the guest: {seen}; see {log}")]
    Command {
        /// The measuring run.
        run: String,
        /// The command's name.
        command: String,
        /// What the guest said of it.
        seen: String,
        /// The serial log.
        log: PathBuf,
    },
    /// A step of a run was not seen.
    #[error("{run}: {step} was not seen; see {log}")]
    Step {
        /// The measuring run.
        run: String,
        /// The step.
        step: String,
        /// The serial log.
        log: PathBuf,
    },
    /// The digest programs do not agree.
    #[error("the digest programs do not agree, or one was cut short: {digests}")]
    Digests {
        /// What each of them computed.
        digests: String,
    },
    /// The core that is to be saved could not be made.
    #[error("the machine left no core: {reason}; see {logs}")]
    NoCore {
        /// What the scenario said.
        reason: String,
        /// The run's folder.
        logs: PathBuf,
    },
    /// A measured dump cannot be read.
    #[error("{cell}: makedumpfile cannot read the kernel's log in a dump")]
    Unreadable {
        /// What was measured.
        cell: String,
        /// What it said.
        source: e2e::dump::Error,
    },
    /// A measured dump is not what it should be.
    #[error("{cell}: makedumpfile finds another kernel log in our dump than in its own, or none")]
    Logs {
        /// What was measured.
        cell: String,
    },
    /// The segment with purgatory is unknown.
    #[error("the loader does not say how large purgatory is; see {log}")]
    NoPurgatory {
        /// The serial log.
        log: PathBuf,
    },
}

/// What a part of the benchmark found.
#[derive(Debug, Default)]
struct Measured {
    figures: Vec<Figure>,
    /// What a reader of the figures should know.
    notes: Vec<String>,
}

impl Measured {
    fn add(&mut self, more: Self) {
        self.figures.extend(more.figures);
        self.notes.extend(more.notes);
    }
}

/// The file that `--json` asks for.
#[derive(Serialize)]
struct Report<'a> {
    figures: &'a [Figure],
}

/// Measures one part.
type Part<'a> = Box<dyn Fn() -> Result<Measured, Error> + 'a>;

/// Measures everything on `archs`, writes the figures to `json` and prints them. A goal that is
/// not reached is a figure like any other. With `counts_only` the host's seconds are left out.
///
/// A part that cannot be measured does not keep the others from being shown; the first error is
/// returned at the end.
pub fn bench(
    archs: &[Arch],
    counts_only: bool,
    json: Option<&Path>,
) -> Result<bool, crate::error::Error> {
    let lab = Lab::prepare()?;
    run(&lab, archs, counts_only, json)?;
    Ok(true)
}

/// Measures the dump writers on `core`, or on one that is made for it; for the rest as [`bench()`].
pub fn bench_dump(core: Option<&Path>, json: Option<&Path>) -> Result<bool, crate::error::Error> {
    let lab = Lab::prepare()?;
    let mut all = Measured { figures: vec![], notes: vec![host()?] };
    all.add(dump::measure(&lab, core)?);
    show(&all, json)?;
    Ok(true)
}

fn run(lab: &Lab, archs: &[Arch], counts_only: bool, json: Option<&Path>) -> Result<(), Error> {
    let mut all = Measured { figures: vec![], notes: vec![host()?] };
    let mut failure = Ok(());
    let subjects = archs.iter().map(|arch| Subject::prepare(lab, *arch));
    let subjects = subjects.collect::<Result<Vec<_>, _>>()?;
    for (what, measure) in subjects.iter().flat_map(|subject| parts(lab, subject, counts_only)) {
        eprintln!("bench: {what} …");
        match measure() {
            Ok(measured) => all.add(measured),
            Err(error) => {
                eprintln!("bench: {what}: {}", explain(&error));
                failure = failure.and(Err(error));
            }
        }
    }
    show(&all, json)?;
    failure
}

/// What is measured of `subject`, by name.
fn parts<'a>(lab: &'a Lab, subject: &'a Subject, counts_only: bool) -> Vec<(String, Part<'a>)> {
    let mut parts: Vec<(String, Part<'a>)> = Vec::new();
    let mut add =
        |what: &str, part: Part<'a>| parts.push((format!("{}, {what}", subject.arch), part));
    for flavour in &subject.kernels {
        let kernel = flavour.title();
        let crash = move || crash::measure(lab, subject, flavour, counts_only);
        add(&format!("crash, {kernel}"), Box::new(crash));
        add(&format!("reboot, {kernel}"), Box::new(|| reboot::measure(lab, subject, flavour)));
    }
    if subject.arch == Arch::X86_64 && !counts_only {
        add("digest on the host", Box::new(|| digest::host::measure(lab)));
    }
    if let Some(flavour) = subject.kernels.first() {
        add("digest", Box::new(|| digest::guest::measure(lab, subject, flavour)));
        add("sizes", Box::new(|| size::measure(lab, subject, flavour)));
    }
    parts
}

/// What the figures were measured on.
fn host() -> Result<String, Error> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })
    };
    let (cpu, load) = (read("/proc/cpuinfo")?, read("/proc/loadavg")?);
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or("unknown CPU");
    let model = model.split_once(": ").map_or(model, |(_, name)| name);
    let cpus = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let qemu = programs::qemu_version()?;
    let load = load.split(' ').next().unwrap_or("?");
    Ok(format!("{cpus} × {model}; load average {load} at the start; {qemu}."))
}

/// Prints what was found and writes the figures to `json`.
fn show(all: &Measured, json: Option<&Path>) -> Result<(), Error> {
    if let Some(path) = json {
        write(path, &all.figures)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
    }
    print!("{}\n{}", figure::table(&all.figures), list(&all.notes));
    Ok(())
}

fn write(path: &Path, figures: &[Figure]) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(&Report { figures })?;
    fs::write(path, text + "\n")
}

fn list(notes: &[String]) -> String {
    notes.iter().map(|note| format!("- {note}\n")).collect()
}
