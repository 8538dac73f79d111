//! The many ways in which a kernel dies: each leaves a dump that says what happened; and those
//! that can leave none bring the machine back.

use std::fs;
use std::path::Path;

use e2e_guest::{ModuleTrigger, Script, Step, TRIGGER_MODULE, Trigger};
use purgatorio::facts::Arch;
use serde_json::json;

use super::crash::{copy_dump, dump_disk, load_command, nonce, panic_now, remove, saved};
use super::guest::{ran_with, run_step, show_step, value, waits};
use super::{Error, PATIENCE, prove};
use crate::cell::Cell;
use crate::dump::Dump;
use crate::first_boot::GuestFile;
use crate::lab::{Lab, Watch};
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::{End, Qemu};

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The kernel dies of this, and leaves a dump.
    Dies(Trigger),
    /// It dies while a capture kernel is being loaded over the one that was loaded: what lies in
    /// the reserved memory is half of each and must not be started.
    WhileLoading,
    /// It dies, and then the capture kernel does, while it saves the dump.
    InCapture,
}

/// Where the kernel is in the middle of kexec_load(2), with its lock held and the memory of the
/// kernel that was loaded before taken (kernel 6.1 kernel/kexec.c, `do_kexec_load`).
const LOADING: &str = "machine_kexec_prepare";
/// Makes an NMI that nobody expects a panic (kernel parameter).
const NMI_PANICS: &str = "unknown_nmi_panic";
const NMI_PANIC: &str = "Kernel panic - not syncing: NMI: Not continuing";

/// Runs the case and proves what must come of it.
pub fn run(lab: &Lab, cell: &Cell, case: Case) -> Result<(Vec<Phase>, Evidence), Error> {
    match case {
        Case::Dies(trigger) => dies(lab, cell, trigger),
        Case::WhileLoading => while_loading(lab, cell),
        Case::InCapture => in_capture(lab, cell),
    }
}

/// What the kernel's log says about its end.
const fn reason(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Sysrq => "sysrq triggered crash",
        Trigger::InitExit => "Attempted to kill init!",
        Trigger::Nmi => "NMI: Not continuing",
        Trigger::Oom => "Out of memory: compulsory panic_on_oom is enabled",
        Trigger::Module(ModuleTrigger::Null) => "NULL pointer dereference",
        Trigger::Module(ModuleTrigger::Bug) => "kernel BUG at ",
        Trigger::Module(ModuleTrigger::Warn) => "panic_on_warn set",
        Trigger::Module(ModuleTrigger::Panic) => "e2e: panic of a module",
        Trigger::Module(ModuleTrigger::HungTask) => "hung_task: blocked tasks",
        Trigger::Module(ModuleTrigger::SoftLockup) => "softlockup: hung tasks",
    }
}

fn dies(lab: &Lab, cell: &Cell, trigger: Trigger) -> Result<(Vec<Phase>, Evidence), Error> {
    let cell = Cell { trigger, ..cell.clone() };
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, &cell)?;
    let nonce = nonce();
    let steps = vec![
        Step::Nonce { text: nonce.clone() },
        run_step("load", load_command(&cell)),
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger, cpu: 0 },
    ];
    let files = match trigger {
        Trigger::Module(_) => {
            vec![GuestFile::copy(TRIGGER_MODULE, &lab.trigger_module(cell.arch, &cell.kernel)?)]
        }
        Trigger::Sysrq | Trigger::InitExit | Trigger::Nmi | Trigger::Oom => Vec::new(),
    };
    let mut qemu =
        lab.boot(&cell, &folder, &Script { steps }, &files, Some(&disk), Watch::Plain)?;
    ran_with(&mut qemu, "load", 0)?;
    waits(&mut qemu, "panic")?;
    panic_now(&mut qemu, &cell)?;
    let saved = saved(&mut qemu)?;
    let dump = copy_dump(&disk, &saved, &folder)?;
    remove(&disk.image)?;

    let mut evidence = Evidence::new();
    says_why(&folder, &dump, &cell, &nonce, &mut evidence)?;
    remove(&dump)?;
    Ok((phases::crash(&phases::from_serial(qemu.serial.lines())), evidence))
}

/// The saved log is of this boot, and it and the dump say what the kernel died of. (An oops starts
/// the capture kernel at once, without the line that a panic has.)
fn says_why(
    folder: &Path,
    dump: &Path,
    cell: &Cell,
    nonce: &str,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let reason = reason(cell.trigger);
    let log = folder.join("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    prove(text.contains(&format!("nonce {nonce}")), || {
        format!("{} does not have the nonce {nonce}", log.display())
    })?;
    prove(text.contains(reason), || {
        format!("{} does not say that it died of {reason:?}", log.display())
    })?;
    let dump = Dump::open(dump)?;
    let in_dump = match cell.arch {
        Arch::X86_64 => dump.kernel_log()?.contains(reason),
        // makedumpfile reads only dumps of the machine it was built for.
        Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => dump.has_text(reason)?,
    };
    prove(in_dump, || format!("the dump's log does not say that it died of {reason:?}"))?;
    evidence.insert("died_of".into(), json!(reason));
    Ok(())
}

fn while_loading(lab: &Lab, cell: &Cell) -> Result<(Vec<Phase>, Evidence), Error> {
    let mut cell = cell.clone();
    cell.append = format!("{} {NMI_PANICS}", cell.append).trim_start().to_owned();
    let folder = lab.fresh_folder(&cell.name)?;
    let steps = vec![
        run_step("load", load_command(&cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
        Step::Symbol { name: LOADING.into() },
        Step::Wait { name: "again".into() },
        run_step("again", load_command(&cell)),
    ];
    let mut qemu = lab.boot(&cell, &folder, &Script { steps }, &[], None, Watch::Debug)?;
    ran_with(&mut qemu, "load", 0)?;
    let address = value(&mut qemu, &format!("e2e: symbol {LOADING} 0x"))?;
    let address = u64::from_str_radix(&address, 16)
        .map_err(|_| Error::Proof(format!("{LOADING} at {address:?} is no address")))?;
    waits(&mut qemu, "again")?;
    let mut gdb = qemu.gdb()?;
    // The keystrokes wait in the UART until the machine goes on.
    qemu.serial.send("go")?;
    gdb.run_to(address)?;
    qemu.qmp.execute("inject-nmi", json!({}))?;
    gdb.detach()?;
    comes_back(&mut qemu, "purgatory: entered")
}

fn in_capture(lab: &Lab, cell: &Cell) -> Result<(Vec<Phase>, Evidence), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, cell)?;
    let mut command = load_command(cell);
    for argument in command.iter_mut().filter(|argument| argument.starts_with("--append=")) {
        *argument = format!("{argument} {NMI_PANICS}");
    }
    let steps = vec![run_step("load", command), Step::Panic { trigger: Trigger::Sysrq, cpu: 0 }];
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &[], Some(&disk), Watch::Plain)?;
    ran_with(&mut qemu, "load", 0)?;
    qemu.serial.wait_for("kdump: saving to ", PATIENCE)?;
    qemu.qmp.execute("inject-nmi", json!({}))?;
    let came_back = comes_back(&mut qemu, "kdump: saved ")?;
    remove(&disk.image)?;
    Ok(came_back)
}

/// The kernel panics by the NMI and resets the machine, without a line with `never`.
fn comes_back(qemu: &mut Qemu, never: &str) -> Result<(Vec<Phase>, Evidence), Error> {
    qemu.serial.wait_for(NMI_PANIC, PATIENCE)?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::Reset, || format!("the machine ended by {end:?} instead of a reset"))?;
    let line = qemu.serial.lines().iter().find(|line| line.text.contains(never));
    prove(line.is_none(), || format!("this must not come: {line:?}"))?;
    let mut evidence = Evidence::new();
    evidence.insert("never_said".into(), json!(never));
    Ok((Vec::new(), evidence))
}
