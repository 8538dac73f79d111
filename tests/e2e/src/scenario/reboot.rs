//! An orderly reboot into another kernel: `-l`, then `-e`.

use e2e_guest::{PREFIX, Script};
use serde_json::json;

use super::crash::nonce;
use super::guest::{ran_with, run_step, show_step, value};
use super::{Error, PATIENCE, prove};
use crate::cell::{Cell, LOADER, SECOND_INITRD, SECOND_KERNEL};
use crate::first_boot::{self, GuestFile};
use crate::lab::{Lab, Watch};
use crate::outcome::Evidence;
use crate::phases::{self, Phase, Stamp};
use crate::qemu::{End, Qemu};
use crate::uki;

/// A file that only the second kernel's initrd has.
const MARKER: &str = "/e2e/marker";
/// Where a unified kernel image lies.
const UKI: &str = "/e2e/uki.efi";
/// The CPUs that run, as ranges: `0-3`.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// What a run left.
#[derive(Debug)]
pub struct Reboot {
    /// How long the steps took.
    pub phases: Vec<Phase>,
    /// What was seen.
    pub evidence: Evidence,
}

/// What the second kernel comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its own file; the initrd and the command line are options.
    Files,
    /// A unified kernel image with all three.
    Uki,
}

/// Reboots into the cell's second kernel and proves that it has the command line and the initrd
/// that the loader was given.
///
/// With [`Watch::Instructions`] the nonce is fixed, so that two runs agree.
pub fn run(lab: &Lab, cell: &Cell, watch: Watch, form: Form) -> Result<Reboot, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let nonce = if watch == Watch::Instructions { "measured".into() } else { nonce() };
    let second =
        Script { steps: vec![show_step("/proc/cmdline"), show_step(MARKER), show_step(ONLINE)] };
    let second_initrd = folder.join("second-initrd");
    let marker = GuestFile::new(MARKER, format!("{nonce}\n"));
    first_boot::build(&second_initrd, &lab.programs(cell.arch)?.guest, &second, None, &[marker])
        .map_err(crate::lab::Error::from)?;

    let command_line = cell.second_command_line(&format!("e2e={nonce}"));
    let mut files = vec![GuestFile::copy(SECOND_INITRD, &second_initrd)];
    if form == Form::Uki {
        let image = folder.join("uki.efi");
        let parts = uki::Parts {
            stub: &lab.uki_stub()?,
            linux: &cell.second_kernel,
            initrd: &second_initrd,
            command_line: &command_line,
        };
        uki::build(&parts, &image).map_err(crate::lab::Error::from)?;
        files = vec![GuestFile::copy(UKI, &image)];
    }
    let first = Script {
        steps: vec![
            run_step("load", load_command(cell, &command_line, form)),
            show_step("/sys/kernel/kexec_loaded"),
            run_step("exec", vec![LOADER.into(), "-e".into()]),
        ],
    };
    let mut qemu = lab.boot(cell, &folder, &first, &files, None, watch)?;

    ran_with(&mut qemu, "load", 0)?;
    let loaded = value(&mut qemu, "e2e: show /sys/kernel/kexec_loaded ")?;
    prove(loaded == "1", || format!("after the load kexec_loaded is {loaded:?}"))?;
    qemu.serial.wait_for("e2e: run exec", PATIENCE)?;
    let seen_command_line = second_says(&mut qemu, "/proc/cmdline")?;
    prove(seen_command_line == command_line, || {
        format!("the second kernel's command line is {seen_command_line:?}, not {command_line:?}")
    })?;
    let seen_marker = second_says(&mut qemu, MARKER)?;
    prove(seen_marker == nonce, || {
        format!("the second kernel's initrd has the marker {seen_marker:?}, not {nonce:?}")
    })?;
    let online = second_says(&mut qemu, ONLINE)?;
    let wanted = if cell.smp == 1 { "0".to_owned() } else { format!("0-{}", cell.smp - 1) };
    prove(online == wanted, || {
        format!("in the second kernel the CPUs {online:?} run, not {wanted:?}")
    })?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::PowerOff, || format!("the machine ended by {end:?}, not by power-off"))?;

    let stamps = match qemu.trace() {
        Some(trace) => phases::from_trace(trace)
            .map_err(|source| Error::File { path: trace.to_owned(), source })?,
        None => phases::from_serial(qemu.serial.lines()),
    };
    let mut evidence = Evidence::new();
    evidence.insert("second_command_line".into(), json!(seen_command_line));
    evidence.insert("second_initrd_marker".into(), json!(seen_marker));
    evidence.insert("second_cpus".into(), json!(online));
    Ok(Reboot { phases: measured(&stamps), evidence })
}

fn load_command(cell: &Cell, command_line: &str, form: Form) -> Vec<String> {
    let mut command = vec![LOADER.to_owned(), "-l".into()];
    command.extend(cell.common_arguments());
    match form {
        Form::Files => command.extend([
            format!("--initrd={SECOND_INITRD}"),
            format!("--append={command_line}"),
            SECOND_KERNEL.into(),
        ]),
        Form::Uki => command.push(UKI.into()),
    }
    command
}

/// What the guest program of the second kernel shows of `path`.
fn second_says(qemu: &mut Qemu, path: &str) -> Result<String, Error> {
    value(qemu, &format!("{PREFIX}show {path} "))
}

/// `load`, then everything from `kexec -e` on.
fn measured(stamps: &[Stamp]) -> Vec<Phase> {
    let mut phases: Vec<Phase> = phases::command(stamps, "load").into_iter().collect();
    let Some(exec) = stamps.iter().position(|stamp| stamp.text.contains("e2e: run exec")) else {
        return phases;
    };
    phases.extend(phases::since(stamps, exec));
    phases
}
