//! A kernel panics and leaves a dump that holds what its memory held.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};

use e2e_guest::{Script, Step, Trigger, pattern};
use purgatorio::facts::Arch;
use serde_json::json;

use super::guest::{ran_with, run_step, show_step, value, waits};
use super::{Error, PATIENCE, proof, prove};
use crate::cell::{Cell, LOADER};
use crate::disk::Disk;
use crate::first_boot::GuestFile;
use crate::lab::{Lab, Watch};
use crate::layout::{self, Layout};
use crate::loader::Maker;
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::serial::Line;
use crate::qemu::{End, Qemu};

/// What a run left.
#[derive(Debug)]
pub struct Crash {
    /// How long the steps took.
    pub phases: Vec<Phase>,
    /// What was seen.
    pub evidence: Evidence,
    /// The saved dump.
    pub dump: PathBuf,
}

/// Panics the cell's kernel and proves that the dump is true.
///
/// The machine is stopped at purgatory's first instruction, so the phases' seconds include the
/// time that saving low memory took; [`measure`] gives undisturbed ones.
pub fn prove_dump(lab: &Lab, cell: &Cell) -> Result<Crash, Error> {
    prove_dump_among(lab, cell, &Others::default())
}

/// What else happens in the guest.
#[derive(Debug, Default)]
pub struct Others {
    /// Steps before the load.
    pub before: Vec<Step>,
    /// Steps between load and panic.
    pub after: Vec<Step>,
    /// More files.
    pub files: Vec<GuestFile>,
}

/// As [`prove_dump`], with other things before and after the load.
pub fn prove_dump_among(lab: &Lab, cell: &Cell, others: &Others) -> Result<Crash, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, cell)?;
    let nonce = nonce();
    let seed = seed(&nonce);
    let mut steps = vec![Step::Nonce { text: nonce.clone() }, Step::Pattern { seed }];
    steps.extend([show_step(IOMEM), show_step(CRASH_SIZE)]);
    steps.extend_from_slice(&others.before);
    if cell.loader.maker == Maker::Ours && !cell.loads_by_file() {
        steps.push(run_step("plan", plan_command(cell)));
    }
    steps.extend([
        run_step("load", telling_load_command(cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
    ]);
    steps.extend_from_slice(&others.after);
    steps.extend([
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ]);
    let script = Script { steps };
    let mut qemu = lab.boot(cell, &folder, &script, &others.files, Some(&disk), Watch::Debug)?;

    let address = value(&mut qemu, "e2e: pattern 0x")?;
    let address = u64::from_str_radix(&address, 16)
        .map_err(|_| Error::Proof(format!("pattern at {address:?} is no address")))?;
    let reserved = value(&mut qemu, &format!("e2e: show {CRASH_SIZE} "))?;
    let reserved =
        reserved.parse().map_err(|_| Error::Proof(format!("{CRASH_SIZE} says {reserved:?}")))?;
    let ram = system_ram(&qemu);
    let layout = loaded(&mut qemu, cell)?;
    waits(&mut qemu, "panic")?;
    let low_memory = match &layout {
        Some(layout) => Some(panic_and_stop(&mut qemu, cell, layout.entry, &folder)?),
        None => {
            panic_now(&mut qemu, cell)?;
            None
        }
    };
    let saved = saved(&mut qemu)?;

    let dump_file = copy_dump(&disk, &saved, &folder)?;
    remove(&disk.image)?;
    let mut evidence = Evidence::new();
    let size = fs::metadata(&dump_file)
        .map_err(|source| Error::File { path: dump_file.clone(), source })?
        .len();
    evidence.insert("dump_bytes".into(), json!(size));
    proof::nonce_in_log(&folder, &nonce, &mut evidence)?;
    proof::dump_is_true(&dump_file, cell, &nonce, address, &pattern(seed), &mut evidence)?;
    proof::headers_are_true(&dump_file, cell, &mut evidence)?;
    let expected: Vec<_> = match (cell.loads_by_file(), cell.arch) {
        (true, Arch::X86_64 | Arch::I386) => ram.iter().filter_map(above_1m).collect(),
        _ => ram,
    };
    proof::memory_is_complete(&dump_file, &expected, reserved, &mut evidence)?;
    if let Some(low_memory) = low_memory {
        let low = cell.profile().low_memory;
        proof::low_memory_is_true(&dump_file, &low_memory, low, &mut evidence)?;
    }
    if cell.smp > 1 {
        proof::panicked_on(&folder, cell.panic_cpu, &mut evidence)?;
    }
    if cell.capture_cpus() > 1 {
        proof::capture_brought_up(&qemu, cell.capture_cpus(), &mut evidence)?;
    }
    proof::machine_is_as_wanted(&dump_file, cell, &mut evidence)?;
    if let Some(layout) = &layout {
        proof::entered_as_planned(&qemu, layout, cell, &mut evidence)?;
    }
    let phases = phases::crash(&phases::from_serial(qemu.serial.lines()));
    Ok(Crash { phases, evidence, dump: dump_file })
}

const IOMEM: &str = "/proc/iomem";
const CRASH_SIZE: &str = "/sys/kernel/kexec_crash_size";

/// The machine's memory in the guest's /proc/iomem.
fn system_ram(qemu: &Qemu) -> Vec<Range<u64>> {
    let prefix = format!("e2e: show {IOMEM} ");
    let ram = |line: &Line| {
        let (range, name) = line.text.split_once(&prefix)?.1.split_once(" : ")?;
        let (first, last) = range.trim().split_once('-')?;
        let first = u64::from_str_radix(first, 16).ok()?;
        let last = u64::from_str_radix(last, 16).ok()?;
        (name == "System RAM").then_some(first..last + 1)
    };
    qemu.serial.lines().iter().filter_map(ram).collect()
}

/// How far [`measure`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The capture kernel's `/init` has started.
    CaptureInit,
    /// The dump is saved and the machine reset.
    Reset,
}

/// One undisturbed crash on one CPU with its instructions counted: the phases from the load on.
/// Two runs give the same counts up to the first disk access of the capture kernel.
pub fn measure(lab: &Lab, cell: &Cell, until: Until) -> Result<Vec<Phase>, Error> {
    let folder = lab.fresh_folder(&format!("{}-measured", cell.name))?;
    let disk = dump_disk(&folder, cell)?;
    let steps = vec![
        Step::Nonce { text: "measured".into() },
        run_step("load", load_command(cell)),
        Step::Panic { trigger: cell.trigger, cpu: 0 },
    ];
    let cell = Cell { smp: 1, ..cell.clone() };
    let mut qemu =
        lab.boot(&cell, &folder, &Script { steps }, &[], Some(&disk), Watch::Instructions)?;
    ran_with(&mut qemu, "load", 0)?;
    match until {
        Until::CaptureInit => drop(qemu.serial.wait_for("kdump: started", PATIENCE)?),
        Until::Reset => drop(saved(&mut qemu)?),
    }
    let trace = qemu.trace().unwrap_or(Path::new("trace")).to_owned();
    let stamps =
        phases::from_trace(&trace).map_err(|source| Error::File { path: trace, source })?;
    remove(&disk.image)?;
    Ok(phases::crash(&stamps))
}

/// The dump target of a cell in `folder`: room for an unfiltered dump.
pub(super) fn dump_disk(folder: &Path, cell: &Cell) -> Result<Disk, Error> {
    Ok(Disk::create(&folder.join("disk.img"), cell.memory + 256)?)
}

/// The command that loads the capture kernel.
pub(super) fn load_command(cell: &Cell) -> Vec<String> {
    [vec![LOADER.to_owned()], cell.load_arguments()].concat()
}

/// The same, and the loader says what it does and where it puts what.
pub(super) fn telling_load_command(cell: &Cell) -> Vec<String> {
    let mut command = load_command(cell);
    command.push("-d".to_owned());
    command
}

/// The command that says what [`load_command`] will do.
pub(super) fn plan_command(cell: &Cell) -> Vec<String> {
    let dry_run = ["--dry-run", "--format", "json"].map(String::from);
    [vec![LOADER.to_owned()], dry_run.to_vec(), cell.load_arguments()].concat()
}

/// The kernel's own core headers leave out the first MiB of a PC (kernel 6.1
/// arch/x86/kernel/crash.c, `elf_header_exclude_ranges`).
fn above_1m(ram: &Range<u64>) -> Option<Range<u64>> {
    let above = ram.start.max(1 << 20)..ram.end;
    (!above.is_empty()).then_some(above)
}

/// Waits for the load, and returns where things are, unless the kernel made the segments itself.
pub(super) fn loaded(qemu: &mut Qemu, cell: &Cell) -> Result<Option<Layout>, Error> {
    if cell.loads_by_file() {
        ran_with(qemu, "load", 0)?;
        is_loaded(qemu)?;
        return Ok(None);
    }
    let layout = match cell.loader.maker {
        Maker::Ours => {
            let plan = ran_with(qemu, "plan", 0)?;
            ran_with(qemu, "load", 0)?;
            layout::from_plan(&plan.output)
        }
        Maker::Peer => layout::from_debug_output(&ran_with(qemu, "load", 0)?.output),
    };
    is_loaded(qemu)?;
    prove(layout.is_some(), || "the loader did not say where purgatory is".into())?;
    Ok(layout)
}

fn is_loaded(qemu: &mut Qemu) -> Result<(), Error> {
    let loaded = value(qemu, "e2e: show /sys/kernel/kexec_crash_loaded ")?;
    prove(loaded == "1", || format!("after the load kexec_crash_loaded is {loaded:?}"))
}

/// Lets the guest go on into its panic.
pub(super) fn panic_now(qemu: &mut Qemu, cell: &Cell) -> Result<(), Error> {
    qemu.serial.send("go")?;
    if cell.trigger == Trigger::Nmi {
        qemu.serial.wait_for("e2e: panic nmi", PATIENCE)?;
        qemu.qmp.execute("inject-nmi", json!({}))?;
    }
    Ok(())
}

/// Panics, and saves low memory at the moment when purgatory's first instruction is next.
fn panic_and_stop(
    qemu: &mut Qemu,
    cell: &Cell,
    entry: u64,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let mut gdb = if cell.trigger == Trigger::Nmi {
        qemu.serial.send("go")?;
        qemu.serial.wait_for("e2e: panic nmi", PATIENCE)?;
        let gdb = qemu.gdb()?;
        qemu.qmp.execute("inject-nmi", json!({}))?;
        gdb
    } else {
        let gdb = qemu.gdb()?;
        // The keystrokes wait in the UART until the machine goes on.
        qemu.serial.send("go")?;
        gdb
    };
    gdb.run_to(entry)?;
    let file = folder.join("low-memory");
    qemu.qmp.save_memory(0, cell.profile().low_memory.size, &file)?;
    gdb.detach()?;
    Ok(file)
}

/// Waits until the capture side has saved the dump and reset the machine; returns the dump's
/// path on its disk.
pub(super) fn saved(qemu: &mut Qemu) -> Result<String, Error> {
    let wanted = ["kdump: saved ", "kdump: failed: "];
    let (which, line) = qemu.serial.wait_for_any(&wanted, PATIENCE)?;
    prove(which == 0, || format!("the capture side says: {}", line.text))?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::Reset, || format!("the machine ended by {end:?} instead of a reset"))?;
    let words = line.text.split_once("kdump: saved ").map_or("", |(_, words)| words);
    Ok(words.split(' ').next().unwrap_or_default().to_owned())
}

/// Copies the dump and its log from the disk into `folder`.
pub(super) fn copy_dump(disk: &Disk, saved: &str, folder: &Path) -> Result<PathBuf, Error> {
    let directory = saved.rsplit_once('/').map_or("", |(directory, _)| directory);
    let names = disk.list(directory)?;
    prove(!names.iter().any(|name| name == "vmcore-incomplete"), || {
        format!("{directory} still has vmcore-incomplete beside {}", names.join(", "))
    })?;
    for name in names {
        disk.copy_out(&format!("{directory}/{name}"), &folder.join(&name))?;
    }
    Ok(folder.join("vmcore"))
}

/// Deletes a large file that is not needed any more.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Hexadecimal digits that no other run has.
pub(super) fn nonce() -> String {
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{time:x}-{:x}", std::process::id())
}

/// A seed that goes with a nonce.
pub(super) fn seed(nonce: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(nonce.as_bytes());
    hasher.finish()
}
