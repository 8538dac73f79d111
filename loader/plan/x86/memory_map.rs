//! The memory that segments may take, the memory map that the next kernel gets, and the low memory
//! that is backed up for it.

use alloc::{format, string::String, vec::Vec};

use crate::facts::Facts;
use crate::facts::x86::{MemoryKind, MemoryRange, X86};
use crate::plan::command_line;
use crate::plan::layout::ANYWHERE;
use crate::plan::x86::PAGE;
use crate::range::{self, PhysRange};

/// The first 640 KiB: the capture kernel needs memory there for its real-mode trampolines.
const LOW_640K: PhysRange = PhysRange::new(0, 0xa_0000);

/// Below it are the BIOS's data, the real-mode vectors and the legacy video memory; the kernel
/// itself puts its real-mode trampolines there.
pub const LOW_1M: u64 = 1 << 20;

/// For a reboot: what both the firmware and the running kernel call RAM. The running kernel may
/// have reserved tables that the firmware left in RAM (EFI's memory attributes, TPM log and the
/// like). Nothing below `lowest` is taken. The kernel copies the segments there at the very end, so
/// memory that is in use now is as good as any.
pub fn reboot(facts: &Facts, x86: &X86, lowest: u64) -> Vec<PhysRange> {
    let (ram, rest): (Vec<&MemoryRange>, Vec<&MemoryRange>) =
        x86.firmware_map.iter().partition(|entry| entry.kind == MemoryKind::Ram);
    let ram: Vec<_> = ram.iter().map(|entry| entry.range).collect();
    // A sloppy firmware's entries overlap: RAM is what nothing else claims.
    let mut not_ram: Vec<_> = rest.iter().map(|entry| entry.range).collect();
    not_ram.push(PhysRange::new(0, lowest));
    if !facts.system_ram.is_empty() {
        not_ram.extend(range::subtract(&[ANYWHERE], &facts.system_ram));
    }
    range::subtract(&ram, &not_ram).iter().filter_map(whole_pages).collect()
}

fn whole_pages(range: &PhysRange) -> Option<PhysRange> {
    let start = range.start.checked_next_multiple_of(PAGE)?;
    let pages = PhysRange::new(start, range.end & !(PAGE - 1));
    (!pages.is_empty()).then_some(pages)
}

/// The low memory that purgatory copies away so that the capture kernel can use it: whole
/// pages, from the first to the last RAM there. (The capture kernel reads whole pages.)
pub fn backup_source(facts: &Facts) -> Option<PhysRange> {
    let low = low_ram(facts);
    let (first, last) = (low.first()?, low.last()?);
    let end = last.end.next_multiple_of(PAGE).min(LOW_640K.end);
    Some(PhysRange::new(first.start & !(PAGE - 1), end))
}

fn low_ram(facts: &Facts) -> Vec<PhysRange> {
    let low = facts.system_ram.iter().filter_map(|ram| ram.intersection(&LOW_640K));
    let mut low: Vec<_> = low.collect();
    range::normalize(&mut low);
    low
}

/// The capture kernel's map: it may use the low 640 KiB, what was reserved for it (without
/// `kept`, which it must find as it is), and CMA memory that crashkernel=,cma gave it. The
/// firmware's ranges are as they are. The dead kernel's RAM is in no entry: the capture kernel
/// must not touch it.
pub fn crash(facts: &Facts, x86: &X86, kept: &[PhysRange]) -> Vec<MemoryRange> {
    let mut usable = low_ram(facts);
    usable.extend(range::subtract(&facts.crash_ranges, kept));
    usable.extend(&facts.crash_cma_ranges);
    range::normalize(&mut usable);
    let entry = |kind| move |range: PhysRange| MemoryRange { range, kind };
    let mut map: Vec<MemoryRange> =
        x86.iomem.iter().filter(|entry| entry.kind != MemoryKind::Ram).copied().collect();
    map.extend(usable.into_iter().map(entry(MemoryKind::Ram)));
    map.extend(kept.iter().copied().map(entry(MemoryKind::Reserved)));
    map.sort_by_key(|entry| entry.range);
    map
}

/// Adds a crash kernel's map to its command line (`--pass-memmap-cmdline`): memmap=exactmap
/// drops the map of boot_params, then RAM as SIZE@START and ACPI memory as SIZE#START (kernel 6.1
/// Documentation/admin-guide/kernel-parameters.txt).
pub fn add_to_command_line(line: &str, map: &[MemoryRange]) -> String {
    let mut line = command_line::add_parameter(line, "memmap=exactmap");
    for MemoryRange { range, kind } in map {
        let mark = match kind {
            MemoryKind::Ram => '@',
            MemoryKind::AcpiTables | MemoryKind::AcpiNvs => '#',
            // exactmap leaves out what is not named, which is what these need.
            MemoryKind::Reserved
            | MemoryKind::Unusable
            | MemoryKind::Persistent
            | MemoryKind::PersistentLegacy
            | MemoryKind::SoftReserved => continue,
        };
        let parameter = if range.start % 1024 == 0 && range.len() % 1024 == 0 {
            format!("memmap={}K{mark}{}K", range.len() / 1024, range.start / 1024)
        } else {
            format!("memmap={:#x}{mark}{:#x}", range.len(), range.start)
        };
        line = command_line::add_parameter(&line, &parameter);
    }
    line
}
