//! `cargo xtask report`: the README's table machine × feature, and docs/test-report, made from
//! outcomes.
//!
//! The outcomes of a run go to docs/results.json, and from there into the README, between two
//! comments, and into docs/test-report. `cargo xtask test` checks that all are complete and say the
//! same: a scenario or a
//! kernel that is new to the harness has to be run and reported.

mod block;
mod page;
mod results;
mod table;
mod test_report;
mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use e2e::loader::Maker;
use e2e::matrix::{Planned, Runs, cells, kernels};
use e2e::outcome::Verdict;
use e2e::programs;
use e2e::scenario::list::Scenario;

use results::{Results, Seen};
use table::{Entry, State};

/// The block of the README that is generated.
const BLOCK: &str = "results";

/// Why there is no report, or not the right one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold outcomes.
    #[error("{path}: does not hold outcomes")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Outcomes could not be put into JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// A program of the host failed.
    #[error(transparent)]
    Process(#[from] e2e::process::Error),
    /// The README has no place for the table.
    #[error("{path}")]
    Block {
        /// The README.
        path: PathBuf,
        /// What is missing.
        source: block::Missing,
    },
    /// The outcomes are not those of the cells that the harness knows.
    #[error(
        "docs/results.json is not of this harness: {lacking} have no outcome, {unknown} are \
         unknown; run `cargo xtask test`, then `cargo xtask report`"
    )]
    Cells {
        /// Cells without an outcome.
        lacking: String,
        /// Outcomes without a cell.
        unknown: String,
    },
    /// A file says something else than the outcomes.
    #[error("{path} does not show what docs/results.json has: run `cargo xtask report --kept`")]
    Stale {
        /// Which.
        path: PathBuf,
    },
}

impl Error {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// Takes the outcomes in `files` into docs/results.json, unless there are none, and writes the
/// README's table and docs/test-report from it.
pub fn report(files: &[PathBuf]) -> Result<(), Error> {
    let (results_file, readme) = (results_file(), readme());
    if !files.is_empty() {
        Results::collect(files)?.write(&results_file)?;
    }
    let results = Results::read(&results_file)?;
    let text = read(&readme)?;
    let new = block::replace(&text, BLOCK, &content(&results))
        .map_err(|source| Error::Block { path: readme.clone(), source })?;
    fs::write(&readme, new).map_err(|source| Error::file(&readme, source))?;
    write_test_report(&results)?;
    complete(&results)
}

fn write_test_report(results: &Results) -> Result<(), Error> {
    let folder = test_report();
    fs::create_dir_all(&folder).map_err(|source| Error::file(&folder, source))?;
    for (name, content) in test_report::files(results) {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|source| Error::file(&path, source))?;
    }
    Ok(())
}

/// Checks that the README, docs/test-report and docs/results.json are complete and agree.
pub fn check() -> Result<(), Error> {
    let (results, readme) = (Results::read(&results_file())?, readme());
    complete(&results)?;
    let text = read(&readme)?;
    let shown = block::find(&text, BLOCK)
        .map_err(|source| Error::Block { path: readme.clone(), source })?;
    if shown != content(&results) {
        return Err(Error::Stale { path: readme });
    }
    for (name, content) in test_report::files(&results) {
        let path = test_report().join(name);
        if read(&path)? != content {
            return Err(Error::Stale { path });
        }
    }
    Ok(())
}

fn test_report() -> PathBuf {
    programs::root().join("docs/test-report")
}

fn results_file() -> PathBuf {
    programs::root().join("docs/results.json")
}

fn readme() -> PathBuf {
    programs::root().join("README.md")
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::file(path, source))
}

/// Every cell that runs has one outcome, and nothing else has.
fn complete(results: &Results) -> Result<(), Error> {
    let known = every_cell();
    let runs = |cell: &&Planned| cell.runs == Runs::Yes;
    let of_ours = |cell: &&Planned| results.of(cell, Maker::Ours);
    let lacking = known.iter().filter(runs).filter(|cell| of_ours(cell).is_none());
    let lacking =
        lacking.map(|cell| name(cell.arch.name(), cell.label, &cell.scenario.to_string()));
    let is_known = |seen: &&Seen| known.iter().filter(runs).any(|cell| seen.is_of(cell));
    let unknown = results.outcomes.iter().filter(|seen| !is_known(seen));
    let unknown = unknown.map(|seen| name(&seen.arch, &seen.label, &seen.scenario));
    let (lacking, unknown): (Vec<_>, Vec<_>) = (lacking.collect(), unknown.collect());
    if lacking.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    Err(Error::Cells { lacking: list(&lacking), unknown: list(&unknown) })
}

fn every_cell() -> Vec<Planned> {
    kernels(&programs::ARCHITECTURES).flat_map(|(arch, label)| cells(arch, label)).collect()
}

fn name(arch: &str, label: &str, scenario: &str) -> String {
    format!("{scenario} ({arch} {label})")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What stands between the comments: the table, and what it was seen on.
fn content(results: &Results) -> String {
    let known = every_cell();
    let entries: Vec<Entry> = known.iter().map(|cell| entry(cell, results)).collect();
    let mut kernels: Vec<String> = Vec::new();
    for seen in known.iter().filter_map(|cell| results.of(cell, Maker::Ours)) {
        let kernel = format!("{} {} is Linux {}", seen.arch, seen.label, seen.kernel);
        if !kernels.contains(&kernel) {
            kernels.push(kernel);
        }
    }
    format!(
        "\n{}\nSeen on {} under {}: {}.\n\n",
        table::table(&entries),
        results.date,
        results.qemu,
        kernels.join("; ")
    )
}

fn entry(cell: &Planned, results: &Results) -> Entry {
    let state = match (cell.runs, results.of(cell, Maker::Ours).map(|seen| seen.result)) {
        (Runs::Never(reason), _) => State::NotApplicable(reason),
        (Runs::OnAnotherKernel, _) => State::Elsewhere,
        (Runs::Yes, Some(Verdict::Pass)) => State::Passed,
        (Runs::Yes, Some(Verdict::Fail)) => State::Failed,
        (Runs::Yes, None) => State::NotRun,
    };
    Entry {
        machine: format!("{} {}", cell.arch, cell.label),
        feature: feature(cell.scenario),
        scenario: cell.scenario.to_string(),
        state,
    }
}

/// The row of the table that a scenario belongs to.
fn feature(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Crash => "crash: dump saved and checked",
        Scenario::Reboot | Scenario::RebootVmlinux | Scenario::RebootUki => "reboot by `kexec -e`",
        Scenario::Entry(_) => "ways of loading and entering",
        Scenario::Smp | Scenario::RebootSmp => "four CPUs, panic on the last",
        Scenario::Memory => "more memory",
        Scenario::La57 | Scenario::Kaslr | Scenario::Hash => "paging, MMU, random addresses",
        Scenario::Uefi | Scenario::SecureBoot | Scenario::Slof | Scenario::Powernv => {
            "other firmware and machines"
        }
        Scenario::Compat(_) => "32-bit beside 64-bit",
        Scenario::Corrupt(_, e2e::scenario::corrupt::Expected::Exception) => "fault in purgatory",
        Scenario::Corrupt(..) => "damage is named, policy is kept",
        Scenario::BadInput => "bad input is refused",
        Scenario::Readers => "dumps opened by other readers",
        Scenario::Rehearse => "rehearsals come true",
        Scenario::Trigger(_) => "other ways to die",
        Scenario::Early(_) => "loaded early, in Debian's initrd",
        Scenario::Operator => "`kdump load` and `kdump status`",
        Scenario::Package | Scenario::Dropin => "Debian: the package, and Debian's own callers",
        Scenario::Save(_) => "saved on every kind of disk, and back from faulty ones",
        Scenario::ComparePeer => "the same as kexec-tools loads, or explained",
        Scenario::Kept => "ways of loading and entering",
        Scenario::Payloads => "Multiboot, Multiboot2 and ELF kernels find what is promised",
        Scenario::Network(_) => "saved on NFS and SSH servers, and back from faulty networks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that passed and of which nothing else is known.
    pub(super) fn seen(arch: &str, label: &str, scenario: &str) -> Seen {
        Seen {
            arch: arch.into(),
            label: label.into(),
            kernel: "6.1".into(),
            scenario: scenario.into(),
            loader: Maker::Ours.name().into(),
            result: Verdict::Pass,
            reason: None,
            phases: Vec::new(),
            dump_bytes: None,
            ram_bytes: None,
            logs: None,
        }
    }

    /// Outcomes of everything that runs; the first scenario of all fails.
    pub(super) fn everything() -> Results {
        let runs = every_cell().into_iter().filter(|cell| cell.runs == Runs::Yes);
        let mut outcomes: Vec<Seen> = runs
            .map(|cell| seen(cell.arch.name(), cell.label, &cell.scenario.to_string()))
            .collect();
        outcomes[0].result = Verdict::Fail;
        Results { date: "2026-11-22".into(), qemu: "QEMU".into(), outcomes }
    }

    #[test]
    fn a_run_of_everything_is_complete() {
        let results = everything();
        assert!(complete(&results).is_ok());
        let text = content(&results);
        assert!(text.contains("0/1 **crash failed**"), "{text}");
        assert!(!text.contains("not run"), "{text}");
    }

    #[test]
    fn an_outcome_too_few_or_too_many_is_refused() {
        let mut lacking = everything();
        let first = lacking.outcomes.remove(0);
        let error = complete(&lacking).expect_err("one is lacking").to_string();
        assert!(error.contains("crash (x86_64 generic) have no outcome"), "{error}");
        assert!(content(&lacking).contains("**1 not run**"));

        let mut unknown = everything();
        unknown.outcomes.push(Seen { scenario: "dance".into(), ..first });
        let error = complete(&unknown).expect_err("one is unknown").to_string();
        assert!(error.contains("dance (x86_64 generic) are unknown"), "{error}");
    }
}
