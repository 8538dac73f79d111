//! A kernel panics and leaves a dump that holds what its memory held.

use std::fs;
use std::path::{Path, PathBuf};

use e2e_guest::{Script, Step, Trigger, pattern};
use serde_json::json;

use super::guest::{ran_with, run_step, show_step, value, waits};
use super::{Error, PATIENCE, prove};
use crate::cell::{Cell, LOADER, Syscall};
use crate::disk::Disk;
use crate::dump::Dump;
use crate::lab::{Lab, Watch};
use crate::layout::{self, Layout};
use crate::loader::Maker;
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::{End, Qemu};

/// Low memory that purgatory copies to the backup region: 640 KiB.
const LOW_MEMORY: u64 = 0xa_0000;
/// How much of it a PC's firmware leaves to the kernel at least.
const LOW_MEMORY_LEAST: u64 = 0x9_0000;

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
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, cell)?;
    let nonce = nonce();
    let seed = u64::from_le_bytes(nonce[..8].try_into().unwrap_or_default());
    let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut steps = vec![Step::Nonce { text: nonce.clone() }, Step::Pattern { seed }];
    if cell.loader.maker == Maker::Ours && cell.syscall != Syscall::FileLoad {
        steps.push(run_step("plan", plan_command(cell)));
    }
    steps.extend([
        run_step("load", load_command(cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ]);
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &[], Some(&disk), Watch::Debug)?;

    let address = value(&mut qemu, "e2e: pattern 0x")?;
    let address = u64::from_str_radix(&address, 16)
        .map_err(|_| Error::Proof(format!("pattern at {address:?} is no address")))?;
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
    let mut evidence = Evidence::new();
    evidence.insert("loader".into(), json!(cell.loader.maker.name()));
    nonce_in_log(&folder, &nonce, &mut evidence)?;
    dump_is_true(&dump_file, &nonce, address, &pattern(seed), &mut evidence)?;
    if let Some(low_memory) = low_memory {
        low_memory_is_true(&dump_file, &low_memory, &mut evidence)?;
    }
    if cell.smp > 1 {
        panicked_on(&folder, cell.panic_cpu, &mut evidence)?;
    }
    let phases = phases::crash(&phases::from_serial(qemu.serial.lines()));
    Ok(Crash { phases, evidence, dump: dump_file })
}

/// One undisturbed crash on one CPU with its instructions counted: the phases from the load to
/// the reboot. Two runs give the same counts up to the first disk access of the capture kernel.
pub fn measure(lab: &Lab, cell: &Cell) -> Result<Vec<Phase>, Error> {
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
    saved(&mut qemu)?;
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

pub(super) fn load_command(cell: &Cell) -> Vec<String> {
    [vec![LOADER.to_owned()], cell.load_arguments()].concat()
}

fn plan_command(cell: &Cell) -> Vec<String> {
    let dry_run = ["--dry-run", "--format", "json"].map(String::from);
    [vec![LOADER.to_owned()], dry_run.to_vec(), cell.load_arguments()].concat()
}

/// Waits for the load, and returns where things are, unless the kernel made the segments itself.
pub(super) fn loaded(qemu: &mut Qemu, cell: &Cell) -> Result<Option<Layout>, Error> {
    if cell.syscall == Syscall::FileLoad {
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
    let mut gdb = qemu.gdb()?;
    // The keystrokes wait in the UART until the machine goes on.
    panic_now_or_prepare(qemu, cell)?;
    gdb.run_to(entry)?;
    let file = folder.join("low-memory");
    qemu.qmp.save_memory(0, LOW_MEMORY, &file)?;
    gdb.detach()?;
    Ok(file)
}

fn panic_now_or_prepare(qemu: &mut Qemu, cell: &Cell) -> Result<(), Error> {
    prove(cell.trigger != Trigger::Nmi, || "an NMI cannot be sent to a stopped machine".into())?;
    qemu.serial.send("go").map_err(Error::from)
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
fn copy_dump(disk: &Disk, saved: &str, folder: &Path) -> Result<PathBuf, Error> {
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

fn nonce_in_log(folder: &Path, nonce: &str, evidence: &mut Evidence) -> Result<(), Error> {
    let log = folder.join("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    prove(text.contains(&format!("nonce {nonce}")), || {
        format!("{} does not have the nonce {nonce}", log.display())
    })?;
    prove(text.contains(phases::PANIC), || format!("{} has no panic", log.display()))?;
    evidence.insert("nonce_in_saved_log".into(), json!(nonce));
    Ok(())
}

/// The dump holds the pattern page and the log, in our reading and in that of three others.
fn dump_is_true(
    file: &Path,
    nonce: &str,
    address: u64,
    pattern: &[u8; 4096],
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
    let page = dump.read(address, pattern.len())?;
    prove(page == pattern, || {
        format!("{}: the page at {address:#x} is not what the guest wrote", file.display())
    })?;
    evidence.insert("pattern_at".into(), json!(format!("{address:#x}")));

    let log = dump.kernel_log()?;
    prove(log.contains(&format!("nonce {nonce}")), || {
        "makedumpfile --dump-dmesg does not show the nonce".into()
    })?;
    evidence.insert("makedumpfile_log_lines".into(), json!(log.lines().count()));

    let loads = dump.program_headers()?.lines().filter(|l| l.trim().starts_with("LOAD")).count();
    prove(loads == dump.loads.len() && loads > 0, || {
        format!("readelf sees {loads} PT_LOADs and we see {}", dump.loads.len())
    })?;
    evidence.insert("readelf_loads".into(), json!(loads));

    let word = u64::from_le_bytes(pattern[..8].try_into().unwrap_or_default());
    let virtual_address = dump.virtual_address(address)?;
    let seen = dump.gdb_word(virtual_address)?;
    prove(seen == Some(word), || {
        format!("gdb sees {seen:x?} at {virtual_address:#x} instead of {word:#x}")
    })?;
    evidence.insert("gdb_read_at".into(), json!(format!("{virtual_address:#x}")));
    Ok(())
}

/// The dump's low memory is what was there when purgatory was entered.
fn low_memory_is_true(file: &Path, before: &Path, evidence: &mut Evidence) -> Result<(), Error> {
    let before_bytes =
        fs::read(before).map_err(|source| Error::File { path: before.to_owned(), source })?;
    let dump = Dump::open(file)?;
    let mut compared = 0;
    for load in dump.loads.iter().filter(|load| load.physical < LOW_MEMORY) {
        let end = LOW_MEMORY.min(load.physical + load.size);
        let length = usize::try_from(end - load.physical).unwrap_or_default();
        let from = usize::try_from(load.physical).unwrap_or_default();
        let dumped = dump.read(load.physical, length)?;
        let there = &before_bytes[from..from + length];
        if let Some(at) = dumped.iter().zip(there).position(|(dumped, there)| dumped != there) {
            let address = load.physical + at as u64;
            return Err(Error::Proof(format!(
                "low memory at {address:#x} is {:#04x} in the dump and was {:#04x} when purgatory \
                 was entered",
                dumped[at], there[at]
            )));
        }
        compared += end - load.physical;
    }
    prove(compared >= LOW_MEMORY_LEAST, || {
        format!("the dump has only {compared:#x} bytes of the first {LOW_MEMORY:#x}")
    })?;
    let used = before_bytes.iter().filter(|byte| **byte != 0).count();
    evidence.insert("low_memory_bytes_equal".into(), json!(compared));
    evidence.insert("low_memory_bytes_not_zero".into(), json!(used));
    Ok(())
}

fn panicked_on(folder: &Path, cpu: usize, evidence: &mut Evidence) -> Result<(), Error> {
    let log = folder.join("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    prove(text.contains(&format!("CPU: {cpu} PID: 1 ")), || {
        format!("{} does not say that CPU {cpu} panicked", log.display())
    })?;
    evidence.insert("panicked_cpu".into(), json!(cpu));
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Sixteen bytes that no other run has.
fn nonce() -> [u8; 16] {
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    (time << 32 | u128::from(std::process::id())).to_le_bytes()
}
