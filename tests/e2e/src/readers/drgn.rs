//! drgn: memory, and with debug information the log, the tasks and the stack of the one that
//! crashed.

use std::path::Path;

use serde::Deserialize;

use super::{Error, python};

const SCRIPT: &str = include_str!("drgn_reader.py");

/// What drgn sees.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// The kernel's release.
    pub release: String,
    /// Its page size in bytes.
    pub page_size: u64,
    /// The eight bytes at the address, in hexadecimal; `None` if the dump lacks their page.
    pub bytes: Option<String>,
    /// The kernel's log.
    #[serde(default)]
    pub log: String,
    /// The names of the tasks.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// The name of the task that crashed.
    #[serde(default)]
    pub crashed: String,
    /// The functions on its stack, the innermost first.
    #[serde(default)]
    pub stack: Vec<Option<String>>,
}

/// Opens `dump` and reads at physical `address`; `kernel` has debug information.
pub fn open(dump: &Path, address: u64, kernel: Option<&Path>) -> Result<Seen, Error> {
    let (dump, address) = (dump.to_string_lossy(), format!("{address:#x}"));
    let kernel = kernel.map(Path::to_string_lossy);
    let mut arguments = vec![dump.as_ref(), &address];
    arguments.extend(kernel.as_deref());
    let answer = python(SCRIPT, &arguments, "")?;
    serde_json::from_str(&answer)
        .map_err(|source| Error::Answer { script: "drgn_reader.py", source })
}
