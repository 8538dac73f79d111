//! `kdump rehearse` tells what would become of a crash, and is right.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{Error, prove};
use crate::cell::Cell;
use crate::disk;
use crate::lab::Lab;
use crate::outcome::Evidence;
use crate::phases::Phase;

/// So little that no kernel of the harness gets to its `/init` with it, in MiB.
const TOO_LITTLE: u64 = 28;

/// What the command's exit status says.
const WORKS: i32 = 0;
const WOULD_NOT_WORK: i32 = 1;
const CANNOT_TELL: i32 = 2;

/// Rehearses the cell's kernel and capture image with as much memory as the cell reserves, and
/// with too little.
pub fn run(lab: &Lab, cell: &Cell) -> Result<(Vec<Phase>, Evidence), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let mut evidence = Evidence::new();

    let enough = cell.crashkernel.as_deref().and_then(|size| size.strip_suffix('M')?.parse().ok());
    let enough: u64 = enough.ok_or_else(|| Error::Proof("crashkernel= is not in MiB".into()))?;
    let report = rehearse(lab, cell, enough, &folder.join("enough"), WORKS)?;
    prove(report["works"] == true && report["reason"].is_null(), || format!("{report:#}"))?;
    let target = format!("ext4:{}", disk::TARGET);
    prove(report["target"] == target, || format!("the target is {}", report["target"]))?;
    let steps: Vec<&str> = report["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s["name"].as_str())
        .collect();
    for wanted in ["panic", "capture kernel verified", "capture program", "dump saved and checked"]
    {
        prove(steps.contains(&wanted), || format!("the report has no step {wanted:?}: {steps:?}"))?;
    }
    let number = |key: &str| report[key].as_u64().unwrap_or_default();
    let (peak, total) = (number("peak_memory_bytes"), number("capture_memory_bytes"));
    prove(0 < peak && peak < total && total < enough << 20, || {
        format!("{peak} of {total} bytes of memory in use, of {enough} MiB that were reserved")
    })?;
    evidence.insert("rehearsal_dump".into(), report["dump"].clone());
    evidence.insert("rehearsal_peak_memory".into(), json!(peak));
    evidence.insert("rehearsal_steps".into(), report["steps"].clone());

    let report = rehearse(lab, cell, TOO_LITTLE, &folder.join("too-little"), WOULD_NOT_WORK)?;
    let reason = report["reason"].as_str().unwrap_or_default();
    prove(report["works"] == false && !reason.is_empty(), || format!("{report:#}"))?;
    evidence.insert("rehearsal_failure".into(), json!(reason));

    let nothing =
        command(lab, cell, enough, &folder.join("none"))?.args(["--image", "/dev/null"]).output();
    status_is(&nothing.map_err(|source| no_command(lab, source))?, CANNOT_TELL)?;
    Ok((Vec::new(), evidence))
}

/// The report of a rehearsal whose exit status is `status`.
fn rehearse(
    lab: &Lab,
    cell: &Cell,
    crashkernel: u64,
    logs: &Path,
    status: i32,
) -> Result<Value, Error> {
    let mut command = command(lab, cell, crashkernel, logs)?;
    command.arg("--image").arg(&cell.capture_initrd);
    let output = command.output().map_err(|source| no_command(lab, source))?;
    status_is(&output, status)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Proof(format!("the report is no JSON: {error}")))
}

fn command(lab: &Lab, cell: &Cell, crashkernel: u64, logs: &Path) -> Result<Command, Error> {
    let dist = lab.programs(cell.arch)?.dist;
    let mut command = Command::new(lab.kdump());
    // KVM is not relied on here, whether there is one or not.
    command.args(["rehearse", "--json", "--accel", "tcg", "--memory", &cell.memory.to_string()]);
    command.args(["--crashkernel", &crashkernel.to_string(), "--timeout", "300"]);
    command.arg("--settings").arg("/dev/null").arg("--kernel").arg(&cell.kernel.image);
    command.arg("--kexec").arg(dist.join("kexec")).arg("--logs").arg(logs);
    Ok(command)
}

fn status_is(output: &Output, wanted: i32) -> Result<(), Error> {
    prove(output.status.code() == Some(wanted), || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("kdump rehearse: {} instead of {wanted}; it said:\n{said}", output.status)
    })
}

fn no_command(lab: &Lab, source: std::io::Error) -> Error {
    Error::File { path: lab.kdump().to_owned(), source }
}
