//! Payload kernels that print in what state they were entered: what they print is compared with what
//! the specification of their protocol promises, and with what the first kernel knows.

mod cases;
mod checks;
mod state;

use e2e_guest::Script;
use serde_json::json;

use super::guest::{ran_with, run_step};
use super::{Error, PATIENCE, prove};
use crate::cell::{Cell, LOADER};
use crate::first_boot::GuestFile;
use crate::lab::{self, Lab, Watch};
use crate::outcome::Evidence;
use crate::qemu::End;
use cases::Case;
use checks::Checks;
use state::State;

/// Where the payload lies in the guest.
const PAYLOAD: &str = "/e2e/payload";
/// The files that are modules, with their content.
const MODULES: [(&str, &str); 2] =
    [("/e2e/module-1", "the first module"), ("/e2e/module-2", "the second module")];

/// Starts every payload that the machine can, each in a boot of its own: it ends the machine.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let mut evidence = Evidence::new();
    for case in cases::of(cell.arch) {
        let state = start(lab, cell, case)
            .map_err(|error| Error::Payload { name: case.payload.name, source: error.into() })?;
        evidence.insert(case.payload.name.into(), json!(state.lines()));
    }
    Ok(evidence)
}

fn start(lab: &Lab, cell: &Cell, case: &Case) -> Result<State, Error> {
    let folder = lab.fresh_folder(&format!("{}/{}", cell.name, case.payload.name))?;
    let payload = case.payload.build(&folder).map_err(lab::Error::from)?;
    let mut load = vec![LOADER.to_owned(), "-l".into()];
    load.extend(cell.common_arguments());
    load.extend(case.options.iter().map(|option| (*option).to_owned()));
    load.extend([format!("--append={}", cases::APPEND), PAYLOAD.into()]);
    let script = Script {
        steps: vec![run_step("load", load), run_step("exec", vec![LOADER.into(), "-e".into()])],
    };
    let mut files = vec![GuestFile::copy(PAYLOAD, &payload)];
    files.extend(MODULES.map(|(path, content)| GuestFile::new(path, content)));
    let mut qemu = lab.boot(cell, &folder, &script, &files, None, Watch::Plain)?;
    ran_with(&mut qemu, "load", 0)?;
    qemu.serial.wait_for("payload: end", PATIENCE)?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::Reset, || format!("the machine ended by {end:?}, not by a reset"))?;
    let lines: Vec<&str> = qemu.serial.lines().iter().map(|line| line.text.as_str()).collect();
    let state = State::of(&lines);
    let mut checks = Checks::of(&state);
    (case.expect)(&mut checks);
    let wrong = checks.wrong();
    prove(wrong.is_empty(), || wrong.join("\n"))?;
    Ok(state)
}
