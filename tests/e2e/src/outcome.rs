//! What a scenario reports: JSON with the keys that docs and CI rely on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::phases::Phase;

/// Whether the scenario's proof held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It held.
    Pass,
    /// It did not.
    Fail,
}

/// What was seen, by name.
pub type Evidence = Map<String, Value>;

/// The report of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Whether the proof held.
    pub result: Verdict,
    /// The scenario's name.
    pub scenario: String,
    /// The machine's architecture.
    pub arch: &'static str,
    /// Which machine: q35, pseries, powernv.
    pub machine: &'static str,
    /// The first kernel's label.
    pub label: String,
    /// The first kernel's release.
    pub kernel: String,
    /// Whose loader ran.
    pub loader: &'static str,
    /// How long each step took.
    pub phases: Vec<Phase>,
    /// What was seen.
    pub evidence: Evidence,
    /// Why it failed.
    pub reason: Option<String>,
    /// The folder with the run's logs.
    pub logs: PathBuf,
    /// The dump, where it was kept.
    pub dump: Option<PathBuf>,
}

/// An error with its causes, outermost first.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A transparent error repeats its source.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
