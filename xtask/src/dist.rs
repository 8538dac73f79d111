//! `dist`: the static programs of one architecture, and what belongs to them.

use std::io;
use std::path::PathBuf;

use e2e::programs;
use purgatorio::facts::Arch;

use crate::{manuals, system_files};

/// What could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// The pages, completions or system files could not be written.
    #[error("{path}: cannot write")]
    Write {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Builds the programs; `share` beside them has pages and completions, `system` the files for a
/// system. Returns their folder.
pub fn dist(arch: Arch) -> Result<PathBuf, Error> {
    let folder = programs::dist(arch)?;
    let share = folder.join(SHARE);
    manuals::write(&share).map_err(|source| Error::Write { path: share, source })?;
    let system = folder.join("system");
    system_files::write(&programs::root(), &system)
        .map_err(|source| Error::Write { path: system, source })?;
    Ok(folder)
}

/// The folder of pages and completions.
pub const SHARE: &str = "share";
