//! What the last full run saw: docs/results.json.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::matrix::Planned;
use e2e::outcome::Verdict;
use e2e::{process, programs};
use serde::{Deserialize, Serialize};

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

/// The part of an [`Outcome`](e2e::outcome::Outcome) that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The machine's architecture.
    pub arch: String,
    /// The kernel's label.
    pub label: String,
    /// The kernel's release.
    pub kernel: String,
    /// The scenario's name.
    pub scenario: String,
    /// Whether its proof held.
    pub result: Verdict,
}

impl Results {
    /// Joins the outcomes that `cargo xtask test` wrote to `files`; later ones replace earlier ones
    /// of the same cell.
    pub fn collect(files: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let mut outcomes: Vec<Seen> = Vec::new();
        let mut dates = Vec::new();
        for file in files {
            for seen in read::<Vec<Seen>>(file.as_ref())? {
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

    /// Writes it to `path`.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).map_err(|source| Error::file(path, source))
    }

    /// The outcome of a cell.
    pub fn of(&self, cell: &Planned) -> Option<&Seen> {
        self.outcomes.iter().find(|seen| seen.is_of(cell))
    }
}

impl Seen {
    /// Whether it is an outcome of `cell`.
    pub fn is_of(&self, cell: &Planned) -> bool {
        self.key() == (cell.arch.name(), cell.label, &cell.scenario.to_string())
    }

    fn same_cell(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.arch, &self.label, &self.scenario)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
    serde_json::from_str(&text).map_err(|source| Error::Content { path: path.into(), source })
}
