//! Orderly reboots into kernels whose addresses the loader chooses at random.

use e2e_guest::{Script, Step};
use purgatorio::facts::Arch;
use serde_json::json;

use super::guest::{ran_with, run_step, show_step, value};
use super::{Error, PATIENCE, prove};
use crate::cell::{Cell, LOADER, SECOND_INITRD, SECOND_KERNEL};
use crate::first_boot::{self, GuestFile};
use crate::lab::{self, Lab, Watch};
use crate::outcome::Evidence;
use crate::qemu::{End, Qemu};

/// What the reboots add to the command line, in order.
const REBOOTS: [&str; 3] = ["", "", "nokaslr"];
/// The kernel's first byte in /proc/kallsyms.
const TEXT: &str = "_text";
/// By what kernels are aligned, and where they are linked: the physical address.
const LARGE_PAGE: u64 = 2 << 20;
const LINKED: u64 = 16 << 20;
/// What the loader says of a kernel's place.
const PLACE: &str = "its start ";
const RANDOM: &str = "; random (KASLR)";

/// A kernel's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bases {
    physical: u64,
    virtual_address: u64,
}

/// Reboots three times, the last time with `nokaslr`, and proves that each kernel runs where the
/// loader said that it would: twice at random addresses, then where it is linked.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let guest = &lab.programs(cell.arch)?.guest;
    // From the last kernel to the first: each one's initrd holds the next one's.
    let mut next = None;
    for stage in (1..=REBOOTS.len()).rev() {
        let initrd = folder.join(format!("initrd-{stage}"));
        let files = files(cell, next.as_deref());
        first_boot::build(&initrd, guest, &script(cell, stage), Some(&cell.loader), &files)
            .map_err(lab::Error::from)?;
        next = Some(initrd);
    }
    let files = files(cell, next.as_deref());
    let mut qemu = lab.boot(cell, &folder, &script(cell, 0), &files, None, Watch::Plain)?;

    let mut seen = Vec::new();
    for words in REBOOTS {
        let first = bases(&mut qemu)?;
        let said = ran_with(&mut qemu, "load", 0)?.output;
        let place = said.iter().find(|line| line.contains(PLACE));
        let place = place.ok_or_else(|| Error::Proof(format!("no place is said: {said:#?}")))?;
        prove(place.contains(RANDOM) == words.is_empty(), || {
            format!("with {words:?} the loader says {place:?}")
        })?;
        qemu.serial.wait_for("e2e: run exec", PATIENCE)?;
        seen.push((first, place.clone()));
    }
    let last = bases(&mut qemu)?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::PowerOff, || format!("the machine ended by {end:?}, not by power-off"))?;

    let booted: Vec<Bases> = seen.iter().map(|(bases, _)| *bases).skip(1).chain([last]).collect();
    for (Bases { physical, virtual_address }, (_, said)) in booted.iter().zip(&seen) {
        let place = format!("{physical:#x} physical, {virtual_address:#x} virtual");
        prove(said.contains(&place), || format!("the kernel is at {place}, not at {said:?}"))?;
        prove(physical.is_multiple_of(LARGE_PAGE) && *physical >= LINKED, || {
            format!("{physical:#x} is no address for a kernel")
        })?;
    }
    // A 32-bit kernel has some thirty places, which may well coincide.
    prove(cell.arch == Arch::I386 || booted[0] != booted[1], || {
        format!("both random places are {:x?}", booted[0])
    })?;
    prove(last.physical == LINKED && last.virtual_address & 0x0fff_ffff == LINKED, || {
        format!("with nokaslr the kernel is at {last:x?}")
    })?;
    let mut evidence = Evidence::new();
    let places = booted.iter().map(|bases| format!("{bases:x?}"));
    evidence.insert("places".into(), json!(places.collect::<Vec<_>>()));
    Ok(evidence)
}

/// Says where the kernel is, and reboots unless it is the last one.
fn script(cell: &Cell, stage: usize) -> Script {
    let mut steps = vec![Step::Symbol { name: TEXT.into() }, show_step("/proc/iomem")];
    if let Some(words) = REBOOTS.get(stage) {
        let command_line = cell.second_command_line(words);
        let mut load = vec![LOADER.to_owned(), "-l".into(), "-d".into()];
        load.extend(cell.common_arguments());
        load.push(format!("--initrd={SECOND_INITRD}"));
        load.push(format!("--append={command_line}"));
        load.push(SECOND_KERNEL.into());
        steps.push(run_step("load", load));
        steps.push(run_step("exec", vec![LOADER.into(), "-e".into()]));
    }
    Script { steps }
}

/// What a kernel needs to reboot into one with `initrd`.
fn files(cell: &Cell, initrd: Option<&std::path::Path>) -> Vec<GuestFile> {
    let Some(initrd) = initrd else { return Vec::new() };
    vec![
        GuestFile::copy(SECOND_INITRD, initrd),
        GuestFile::copy(SECOND_KERNEL, &cell.second_kernel),
    ]
}

/// Where the running kernel says that it is.
fn bases(qemu: &mut Qemu) -> Result<Bases, Error> {
    let number = |text: &str| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).map_err(|_| Error::Proof(format!("{text:?} is no address")))
    };
    let virtual_address = number(&value(qemu, &format!("e2e: symbol {TEXT} "))?)?;
    loop {
        let line = value(qemu, "e2e: show /proc/iomem ")?;
        if let Some((range, _)) = line.split_once(" : Kernel code") {
            let physical = number(range.split('-').next().unwrap_or_default())?;
            return Ok(Bases { physical, virtual_address });
        }
    }
}
