//! What the last full run saw: docs/results.json.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::loader::Maker;
use e2e::matrix::Planned;
use e2e::outcome::{Evidence, Verdict};
use e2e::{process, programs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;

/// A run's outcomes, and what they were seen on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// Day of the run (of the oldest, where several were joined).
    pub date: String,
    /// QEMU's version.
    pub qemu: String,
    /// One for each cell.
    pub outcomes: Vec<Seen>,
}

/// The part of an [`Outcome`](e2e::outcome::Outcome) that is kept. What older runs did not say is
/// empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The machine's architecture.
    pub arch: String,
    /// The kernel's label.
    pub label: String,
    /// The kernel's release.
    pub kernel: String,
    /// The scenario's name.
    pub scenario: String,
    /// Whose loader ran: `ours` or `peer`.
    #[serde(default = "ours")]
    pub loader: String,
    /// Whether its proof held.
    pub result: Verdict,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long each step took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Step>,
    /// Size of the dump's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump_bytes: Option<u64>,
    /// How much of the machine's RAM is in the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_bytes: Option<u64>,
    /// The folder below `target/e2e` with the run's logs, where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
}

/// A step of a run, as in [`Phase`](e2e::phases::Phase).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which step.
    pub name: String,
    /// Host time, in milliseconds: `load` by itself, the others since the panic.
    pub milliseconds: u64,
    /// Guest instructions, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
}

fn ours() -> String {
    Maker::Ours.name().to_owned()
}

/// An outcome as the harness writes it.
#[derive(Deserialize)]
struct Written {
    arch: String,
    label: String,
    kernel: String,
    scenario: String,
    loader: String,
    result: Verdict,
    reason: Option<String>,
    phases: Vec<WrittenPhase>,
    evidence: Evidence,
    logs: PathBuf,
}

#[derive(Deserialize)]
struct WrittenPhase {
    name: String,
    seconds: f64,
    instructions: Option<u64>,
}

/// What `test` writes, and what `e2e` does.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Many(Vec<Written>),
    One(Box<Written>),
}

impl From<Written> for Seen {
    fn from(written: Written) -> Self {
        let number = |name: &str| written.evidence.get(name).and_then(Value::as_u64);
        Self {
            dump_bytes: number("dump_bytes"),
            ram_bytes: number("ram_bytes_in_dump"),
            logs: written.logs.file_name().map(|name| name.to_string_lossy().into_owned()),
            phases: written.phases.into_iter().map(Step::from).collect(),
            arch: written.arch,
            label: written.label,
            kernel: written.kernel,
            scenario: written.scenario,
            loader: written.loader,
            result: written.result,
            reason: written.reason,
        }
    }
}

impl From<WrittenPhase> for Step {
    fn from(phase: WrittenPhase) -> Self {
        let milliseconds = Duration::try_from_secs_f64(phase.seconds).unwrap_or_default();
        Self {
            name: phase.name,
            milliseconds: u64::try_from(milliseconds.as_millis()).unwrap_or(u64::MAX),
            instructions: phase.instructions,
        }
    }
}

impl Results {
    /// Joins the outcomes that `cargo xtask test` and `e2e` wrote to `files`; later ones replace earlier ones
    /// of the same cell.
    pub fn collect(files: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let mut outcomes: Vec<Seen> = Vec::new();
        let mut dates = Vec::new();
        for file in files {
            let written = match read(file.as_ref())? {
                File::Many(written) => written,
                File::One(written) => vec![*written],
            };
            for seen in written.into_iter().map(Seen::from) {
                outcomes.retain(|known| !known.same_cell(&seen));
                outcomes.push(seen);
            }
            let mut date = Command::new("date");
            dates.push(process::output(date.args(["-u", "+%F", "-r"]).arg(file.as_ref()))?);
        }
        outcomes.sort_by(|a, b| a.key().cmp(&b.key()));
        let date = dates.iter().min().map(|date| date.trim().to_owned()).unwrap_or_default();
        Ok(Self { date, qemu: programs::qemu_version()?, outcomes })
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read(path)
    }

    /// Writes it to `path`, each outcome on a line of its own.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let outcomes = self.outcomes.iter().map(serde_json::to_string);
        let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?.join(",\n");
        let [date, qemu] = [&self.date, &self.qemu].map(serde_json::to_string);
        let text = format!(
            "{{\n\"date\": {},\n\"qemu\": {},\n\"outcomes\": [\n{outcomes}\n]\n}}\n",
            date?, qemu?
        );
        fs::write(path, text).map_err(|source| Error::file(path, source))
    }

    /// The outcome of a cell with `maker`'s loader.
    pub fn of(&self, cell: &Planned, maker: Maker) -> Option<&Seen> {
        self.outcomes.iter().find(|seen| seen.loader == maker.name() && seen.is_of(cell))
    }
}

impl Seen {
    /// Whether it is an outcome of `cell`, with any loader.
    pub fn is_of(&self, cell: &Planned) -> bool {
        let of = (self.arch.as_str(), self.label.as_str(), self.scenario.as_str());
        of == (cell.arch.name(), cell.label, &cell.scenario.to_string())
    }

    /// The step `name`.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.phases.iter().find(|step| step.name == name)
    }

    fn same_cell(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> (&str, &str, &str, &str) {
        (&self.arch, &self.label, &self.scenario, &self.loader)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
    serde_json::from_str(&text).map_err(|source| Error::Content { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::super::tests::everything;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        let results = everything();
        results.write(&path).expect("writes");
        assert_eq!(Results::read(&path).expect("reads").outcomes, results.outcomes);
    }

    #[test]
    fn what_the_harness_writes_is_taken_from_either_command() {
        let outcome = r#"{"result": "fail", "scenario": "crash", "arch": "i386", "machine": "q35",
            "label": "686-pae", "kernel": "6.1", "loader": "peer", "reason": "no dump", "dump": null,
            "phases": [{"name": "load", "seconds": 1.25, "instructions": null}],
            "evidence": {"dump_bytes": 5, "ram_bytes_in_dump": 7}, "logs": "/x/target/e2e/a-run"}"#;
        let folder = tempfile::tempdir().expect("a folder");
        for text in [outcome.to_owned(), format!("[{outcome}]")] {
            let path = folder.path().join("outcomes.json");
            fs::write(&path, text).expect("writes");
            let results = Results::collect(&[path]).expect("they are outcomes");
            let [seen] = &results.outcomes[..] else { panic!("{results:?}") };
            assert_eq!((seen.dump_bytes, seen.ram_bytes), (Some(5), Some(7)));
            assert_eq!(seen.logs.as_deref(), Some("a-run"));
            assert_eq!(seen.step("load").map(|step| step.milliseconds), Some(1250));
            assert_eq!(seen.reason.as_deref(), Some("no dump"));
        }
    }
}
