//! A kernel is unpacked once: later loads take what the first one kept, unless it is damaged.

use std::fs;

use e2e_guest::Step;
use purgatorio::kept;
use serde_json::json;

use super::crash::{self, Crash, Others};
use super::guest::{Ran, ran_in, run_step};
use super::{Error, prove};
use crate::cell::{Cell, LOADER, SECOND_KERNEL};
use crate::first_boot::GuestFile;
use crate::lab::Lab;

/// The loader's words.
const UNPACKED: &str = "kexec: unpacked ";
const KEPT: &str = "kexec: kept them as ";
const TAKEN: &str = "kexec: took the kernel that is kept unpacked";
const DAMAGED: &str = "this kept kernel is damaged";

/// What the loads before the panic have to say, and what not.
const LOADS: [(&str, &[&str], &[&str]); 4] = [
    ("first-load", &[UNPACKED, KEPT], &[TAKEN, DAMAGED]),
    ("second-load", &[TAKEN], &[UNPACKED, DAMAGED]),
    ("third-load", &[DAMAGED, UNPACKED, KEPT], &[TAKEN]),
    // What runs after the panic.
    ("load", &[TAKEN], &[UNPACKED, DAMAGED]),
];

/// Loads again and again, panics the kernel and proves the dump of a kernel that was kept.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Crash, Error> {
    let load = |name| run_step(name, crash::telling_load_command(cell));
    let damage = Step::Damage { directory: kept::DIRECTORY.into() };
    let before = [load(LOADS[0].0), load(LOADS[1].0), damage, load(LOADS[2].0)];
    let prepare = [LOADER, "--prepare", "-d", SECOND_KERNEL].map(String::from).to_vec();
    let others = Others {
        before: [&before[..], &[run_step("prepare", prepare)]].concat(),
        // Its directory is there on every system.
        files: vec![GuestFile::new("/var/cache/placeholder", [])],
        ..Others::default()
    };
    let mut crash = crash::prove_dump_among(lab, cell, &others)?;

    let path = lab.dir.join(&cell.name).join("serial.log");
    let log = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
    for (name, wanted, unwanted) in LOADS.into_iter().chain([("prepare", LOADS[3].1, LOADS[3].2)]) {
        let Ran { code, output } = ran_in(&log, name)?;
        let said = output.join("\n");
        prove(code == Some(0), || format!("{name} exited with {code:?}:\n{said}"))?;
        for text in wanted {
            prove(said.contains(text), || format!("{name} does not say {text:?}:\n{said}"))?;
        }
        for text in unwanted {
            prove(!said.contains(text), || format!("{name} says {text:?}:\n{said}"))?;
        }
    }
    crash.evidence.insert("kept".into(), json!(LOADS.map(|(name, wanted, _)| (name, wanted))));
    Ok(crash)
}
