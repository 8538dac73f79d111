//! What was loaded is damaged before the panic: purgatory says what, and does as it was told.
//!
//! The damage is done from outside, through QEMU's gdbstub.

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e_guest::{Script, Step};
use object::{Endian, Endianness};
use purgatorio::facts::Arch;
use purgatory::params::{self, DIGESTED_FROM, Params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::crash::{dump_disk, load_command, loaded, panic_now, plan_command, remove, saved};
use super::guest::{run_step, show_step, waits};
use super::{Error, PATIENCE, prove};
use crate::cell::Cell;
use crate::lab::{Lab, Watch};
use crate::layout::{Layout, Segment};
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::gdb::Gdb;
use crate::qemu::{End, Qemu};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One byte in the middle of the segment with this name.
    Segment(&'static str),
    /// One byte of purgatory's tables of relocations, which are digested with its code. (What
    /// code says that was damaged itself cannot be foretold.)
    Purgatory,
    /// One byte of purgatory's own parameters.
    Params,
    /// One letter of the kernel's name for its builder, which it prints and nobody reads.
    Harmless,
    /// The backup's destination becomes an address that no page table maps, with the parameters'
    /// digest made anew: purgatory faults.
    BackupDestination,
    /// The instruction that purgatory would execute next while it verifies the kernel.
    Instruction,
    /// Nothing; but a non-maskable interrupt comes while purgatory verifies the kernel.
    Nmi,
}

/// What must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The line that names the damage, and a reset.
    Reset,
    /// The line that names the damage, and a machine that stands still.
    Halt,
    /// The line that names the damage, and a saved dump (`--on-mismatch ignore`).
    GoesOn,
    /// `not verified`, and a saved dump (`-i`).
    NotLooked,
    /// `verified`, and a saved dump: nothing that matters has happened.
    Undisturbed,
    /// The line that reports an exception, and a reset.
    Exception,
}

/// What the kernel's banner starts with (kernel 6.1 init/version-timestamp.c).
const BANNER: &[u8] = b"Linux version ";
/// Canonical, and far above any memory that purgatory's identity mapping or a real mode has.
const UNMAPPED: u64 = 0x7f00_0000_0000;
/// A machine that printed nothing and did not end for so long has halted.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// Damages what was loaded, panics, and proves that what is expected follows.
pub fn run(
    lab: &Lab,
    cell: &Cell,
    damage: Damage,
    expected: Expected,
) -> Result<(Vec<Phase>, Evidence), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, cell)?;
    let steps = vec![
        run_step("plan", plan_command(cell)),
        run_step("load", load_command(cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ];
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &[], Some(&disk), Watch::Debug)?;
    let layout = loaded(&mut qemu, cell)?
        .ok_or_else(|| Error::Proof("the loader did not say what is where".into()))?;
    waits(&mut qemu, "panic")?;

    let address = do_damage(&mut qemu, cell, &folder, &layout, damage)?;
    match damage {
        Damage::Instruction | Damage::Nmi => disturb(&mut qemu, cell, address, damage)?,
        _before_the_panic => panic_now(&mut qemu, cell)?,
    }

    let mut evidence = Evidence::new();
    evidence.insert("damaged_at".into(), json!(format!("{address:#x}")));
    let line = match expected {
        Expected::NotLooked => qemu.serial.wait_for("purgatory: not verified", PATIENCE)?.text,
        Expected::Undisturbed => qemu.serial.wait_for("purgatory: verified ", PATIENCE)?.text,
        Expected::Exception => exception(&mut qemu, cell, damage)?,
        Expected::Reset | Expected::Halt | Expected::GoesOn => named(&mut qemu, damage, address)?,
    };
    evidence.insert("purgatory_said".into(), json!(line));
    follows(&mut qemu, expected, &line)?;
    remove(&disk.image)?;
    Ok((phases::crash(&phases::from_serial(qemu.serial.lines())), evidence))
}

/// Changes guest memory; returns the physical address of the first changed byte.
fn do_damage(
    qemu: &mut Qemu,
    cell: &Cell,
    folder: &Path,
    layout: &Layout,
    damage: Damage,
) -> Result<u64, Error> {
    let endian = cell.profile().endian;
    let segment = |what: &str| {
        layout.segment(what).ok_or_else(|| Error::Proof(format!("the plan has no segment {what}")))
    };
    if matches!(damage, Damage::Instruction | Damage::Nmi) {
        return Ok(segment("kernel")?.address);
    }
    let banner = match damage {
        Damage::Harmless => Some(find_banner(qemu, layout, folder)?),
        _elsewhere => None,
    };
    let mut gdb = qemu.gdb()?;
    let address = match damage {
        Damage::Segment(what) => {
            let segment = segment(what)?;
            flip(&mut gdb, segment.address + segment.bufsz / 2)?
        }
        Damage::Purgatory => {
            let block = find_params(&mut gdb, endian, segment("purgatory")?)?;
            let last = last_used_before(&mut gdb, block)?;
            flip(&mut gdb, last)?
        }
        Damage::Params => {
            let block = find_params(&mut gdb, endian, segment("purgatory")?)?;
            flip(&mut gdb, block + std::mem::offset_of!(Params, handoff) as u64 + 8)?
        }
        Damage::BackupDestination => {
            let block = find_params(&mut gdb, endian, segment("purgatory")?)?;
            let mut bytes = gdb.read(block, size_of::<Params>())?;
            let destination = std::mem::offset_of!(Params, backup)
                + std::mem::offset_of!(params::Backup, destination);
            let unmapped = endian.write_u64(UNMAPPED);
            bytes[destination..destination + 8].copy_from_slice(&unmapped);
            let digest = Sha256::digest(&bytes[DIGESTED_FROM..]);
            bytes[DIGESTED_FROM - 32..DIGESTED_FROM].copy_from_slice(&digest);
            gdb.write(block, &bytes)?;
            block
        }
        Damage::Harmless | Damage::Instruction | Damage::Nmi => banner
            .ok_or_else(|| Error::Proof("nothing is damaged".into()))
            .and_then(|banner| flip(&mut gdb, banner))?,
    };
    gdb.detach()?;
    Ok(address)
}

/// The physical address of a letter in the kernel's banner, behind its version.
fn find_banner(qemu: &mut Qemu, layout: &Layout, folder: &Path) -> Result<u64, Error> {
    let file = folder.join("kernel-in-memory");
    for segment in layout.segments.iter().filter(|segment| segment.what == "kernel") {
        qemu.qmp.save_memory(segment.address, segment.bufsz, &file)?;
        let bytes = fs::read(&file).map_err(|source| Error::File { path: file.clone(), source })?;
        remove(&file)?;
        let found = bytes.windows(BANNER.len()).position(|window| window == BANNER);
        if let Some(at) = found {
            // "Linux version RELEASE (BUILDER@HOST) …"
            let builder = bytes[at..].iter().position(|byte| *byte == b'(').unwrap_or_default();
            return Ok(segment.address + (at + builder + 1) as u64);
        }
    }
    Err(Error::Proof("the kernel in memory has no banner".into()))
}

/// Panics, stops where purgatory first reads at `address`, and does there what `damage` says.
fn disturb(qemu: &mut Qemu, cell: &Cell, address: u64, damage: Damage) -> Result<(), Error> {
    let mut gdb = qemu.gdb()?;
    qemu.serial.send("go")?;
    gdb.run_to_read(address)?;
    if damage == Damage::Nmi {
        qemu.qmp.execute("inject-nmi", json!({}))?;
    } else {
        // Purgatory's code has the same physical and virtual addresses.
        let profile = cell.profile();
        let next = gdb.program_counter(profile.program_counter, profile.endian)?;
        gdb.write(next, profile.illegal_instruction)?;
    }
    Ok(gdb.detach()?)
}

fn flip(gdb: &mut Gdb, address: u64) -> Result<u64, Error> {
    let byte = gdb.read(address, 1)?[0];
    gdb.write(address, &[byte ^ 0x10])?;
    Ok(address)
}

/// The physical address of purgatory's parameter block, told by its magic number.
fn find_params(gdb: &mut Gdb, endian: Endianness, purgatory: &Segment) -> Result<u64, Error> {
    let magic = endian.write_u64(params::MAGIC);
    let image =
        gdb.read(purgatory.address, usize::try_from(purgatory.bufsz).unwrap_or_default())?;
    // The magic number may also be an operand of purgatory's code; the block is aligned and
    // says its own size behind it.
    let size = u32::try_from(size_of::<Params>()).unwrap_or_default();
    let size = endian.write_u32(size);
    let found = image
        .as_chunks::<8>()
        .0
        .windows(2)
        .position(|words| words[0] == magic && words[1][4..] == size);
    found
        .map(|index| purgatory.address + 8 * index as u64)
        .ok_or_else(|| Error::Proof("purgatory's segment has no parameter block".into()))
}

/// Where the part of purgatory ends that lies before its parameter block, which starts a page: the
/// relocations and the dynamic section are last there.
fn last_used_before(gdb: &mut Gdb, block: u64) -> Result<u64, Error> {
    const REACH: u64 = 0x1000;
    let bytes = gdb.read(block - REACH, 0x1000)?;
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map(|last| block - REACH + last as u64)
        .ok_or_else(|| Error::Proof("purgatory has nothing before its parameter block".into()))
}

/// Waits for the line that names the damage, and checks that it names the right thing and place.
fn named(qemu: &mut Qemu, damage: Damage, address: u64) -> Result<String, Error> {
    let name = match damage {
        Damage::Segment(name) => name,
        Damage::Purgatory => "purgatory",
        Damage::Params => "params",
        Damage::Harmless | Damage::BackupDestination | Damage::Instruction | Damage::Nmi => {
            "kernel"
        }
    };
    let line = qemu.serial.wait_for("purgatory: DAMAGED: ", PATIENCE)?.text;
    let range = line.split_once(&format!("DAMAGED: {name} at 0x")).and_then(|(_, rest)| {
        let (first, last) = rest.split_once(':')?.0.split_once("-0x")?;
        Some(u64::from_str_radix(first, 16).ok()?..=u64::from_str_radix(last, 16).ok()?)
    });
    prove(range.is_some_and(|range| range.contains(&address)), || {
        format!("{name} was damaged at {address:#x}, but purgatory said: {line}")
    })?;
    Ok(line)
}

/// Waits for the report of the exception that was provoked.
fn exception(qemu: &mut Qemu, cell: &Cell, damage: Damage) -> Result<String, Error> {
    let line = qemu.serial.wait_for("purgatory: EXCEPTION vector ", PATIENCE)?.text;
    let (vector, address) = match (cell.arch, damage) {
        (Arch::X86_64 | Arch::I386, Damage::Instruction) => ("vector 0x6 ", String::new()),
        (Arch::Ppc64le | Arch::Ppc64, Damage::Instruction) => ("vector 0x700 ", String::new()),
        // A page fault.
        (Arch::X86_64 | Arch::I386, _) => ("vector 0xe ", format!("cr2 {UNMAPPED:#x}")),
        // A machine check: no memory answers.
        (Arch::Ppc64le | Arch::Ppc64, _) => ("vector 0x200 ", format!("dar {UNMAPPED:#x}")),
    };
    prove(line.contains(vector) && line.contains(&address), || {
        format!("not {vector}{address}: {line}")
    })?;
    Ok(line)
}

fn follows(qemu: &mut Qemu, expected: Expected, line: &str) -> Result<(), Error> {
    match expected {
        Expected::Reset | Expected::Exception => {
            prove(line.contains("resetting"), || format!("it does not say resetting: {line}"))?;
            let end = qemu.wait_end(PATIENCE)?;
            prove(end == End::Reset, || format!("the machine ended by {end:?}, not by a reset"))?;
            prove(!handed_over(qemu), || "purgatory handed over all the same".into())
        }
        Expected::Halt => {
            prove(line.contains("halting"), || format!("it does not say halting: {line}"))?;
            let ended = qemu.wait_end(STANDS_STILL);
            prove(ended.is_err(), || format!("the machine ended ({ended:?}) instead of halting"))?;
            prove(!handed_over(qemu), || "purgatory handed over all the same".into())
        }
        Expected::GoesOn => {
            prove(line.contains("going on"), || format!("it does not say going on: {line}"))?;
            saved(qemu).map(drop)
        }
        Expected::NotLooked | Expected::Undisturbed => saved(qemu).map(drop),
    }
}

fn handed_over(qemu: &Qemu) -> bool {
    qemu.serial.lines().iter().any(|line| line.text.contains("purgatory: handoff"))
}
