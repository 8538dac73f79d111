//! What can end a command.

use std::io;
use std::path::PathBuf;

/// A command that could not be carried out. A failed test is not one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host lacks something.
    #[error(transparent)]
    Setup(#[from] e2e::setup::Error),
    /// The harness could not be prepared.
    #[error(transparent)]
    Lab(#[from] e2e::lab::Error),
    /// The programs, or what belongs to them, could not be made.
    #[error(transparent)]
    Dist(#[from] crate::dist::Error),
    /// The package could not be made.
    #[error(transparent)]
    Package(#[from] crate::package::Error),
    /// A figure could not be measured.
    #[error(transparent)]
    Bench(#[from] crate::bench::Error),
    /// A parser could not be fuzzed.
    #[error(transparent)]
    Fuzz(#[from] crate::fuzz::Error),
    /// The README's table could not be made.
    #[error(transparent)]
    Report(#[from] crate::report::Error),
    /// An output file could not be written.
    #[error("{path}: cannot write")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file named on the command line could not be used.
    #[error("{path}: cannot use")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An outcome could not be put into JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// The options contradict each other or the scenario.
    #[error("{0}")]
    Options(String),
}
