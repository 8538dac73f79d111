//! libkdumpfile: the pages of dumps by physical address, beside those of the core that they were
//! made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::{Error, python};
use crate::dump::Load;

const SCRIPT: &str = include_str!("pages.py");

/// What libkdumpfile has in the dumps, page by page. Addresses are physical, of the pages' first
/// bytes.
#[derive(Clone, Debug, Deserialize)]
pub struct Comparison {
    /// The dumped kernel's page size in bytes.
    pub page_size: u64,
    /// libkdumpfile's name of the machine.
    pub architecture: String,
    /// How many pages the core has something of.
    pub in_core: u64,
    /// How many of them each level's dump has.
    pub kept: BTreeMap<u8, u64>,
    /// Those that are not as in the core.
    pub different: BTreeMap<u8, Vec<u64>>,
    /// Those that the dump of level 0 lacks.
    pub lost: Vec<u64>,
    /// Those in a dump that the core has nothing of.
    pub invented: Vec<u64>,
    /// Those that level 1, which drops pages of zeroes, dropped though they are none.
    pub dropped_but_not_zero: Vec<u64>,
    /// Those that level 31 dropped and no level of a single kind, or the other way round.
    pub unexplained: Vec<u64>,
    /// Those that level 31 dropped.
    pub dropped: Vec<u64>,
}

/// Reads `dumps`, by level, beside the ELF `core` with these PT_LOADs.
pub fn compare(
    core: &Path,
    loads: &[Load],
    dumps: &BTreeMap<u8, PathBuf>,
) -> Result<Comparison, Error> {
    let loads: Vec<_> = loads.iter().map(|load| (load.physical, load.size, load.offset)).collect();
    let task = json!({ "core": core, "loads": loads, "dumps": dumps });
    let answer = python(SCRIPT, &[], &task.to_string())?;
    serde_json::from_str(&answer).map_err(|source| Error::Answer { script: "pages.py", source })
}
