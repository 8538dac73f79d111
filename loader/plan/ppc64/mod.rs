//! The plan for a Linux kernel on ppc64: an ELF vmlinux that is entered at its first instruction
//! with a flattened device tree in r3.

mod device_tree;
mod kernel;
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use alloc::string::String;

use object::elf::EM_PPC64;
use object::endian::Endianness;
use purgatory::params::{Firmware, Handoff, HandoffMode, ppc64};

use crate::elfcore::{Class, Format};
use crate::facts::{Arch, Facts, Ppc64};
use crate::plan::capture::Capture;
use crate::plan::layout::Layout;
use crate::plan::place::End;
use crate::plan::seal::{self, Task};
use crate::plan::{EntryMode, Plan, PlanError, Request, Target, What, command_line, initrd};
use crate::range::PhysRange;
use device_tree::Contents;
use kernel::KernelImage;

/// Segments are whole pages of the largest size that kernels are built with: a kernel with 64 KiB
/// pages refuses others, one with 4 KiB pages does not mind.
const PAGE: u64 = 64 << 10;

/// The longest command line without the final NUL (`COMMAND_LINE_SIZE`, kernel 6.1
/// arch/powerpc/include/uapi/asm/setup.h).
const CMDLINE_SIZE: u64 = 2047;

/// What a capture kernel overwrites at the start of memory: its exception vectors
/// (`KDUMP_BACKUP_LIMIT`).
const BACKUP: PhysRange = PhysRange::new(0, 64 << 10);

/// The plan. Each step needs the addresses of those before it: the core headers say where the
/// backup is, the device tree where all others are, and purgatory seals them all.
pub fn plan<'a>(
    request: &Request<'a>,
    facts: &Facts,
    machine: &Ppc64,
    purgatory: &linker::Image<'_>,
) -> Result<Plan<'a>, PlanError> {
    let endian = byte_order(facts.arch);
    let image = KernelImage::of(&request.kernel, request.target, endian)?;
    let free = memory::free(request, facts, machine, &image)?;
    let mut layout = Layout::new(&free, request.options.window(), PAGE)?;
    let windows = memory::WINDOWS;
    let kernel = image.place(&mut layout, &windows)?;
    let initrd = match retained_initrd(request, machine)? {
        None => initrd::place(&mut layout, request.initrd, &windows)?,
        retained => retained,
    };
    let capture = match request.target {
        Target::Crash => Some(Capture::place(
            &mut layout,
            facts,
            Some(BACKUP),
            // In the byte order of the dead kernel, whose notes they lead to.
            Format { class: Class::Elf64, endian, machine: EM_PPC64 },
            request.options.hotplug,
        )?),
        Target::Reboot => None,
    };
    let purgatory_at = layout.take(
        What::Purgatory,
        purgatory.size(),
        purgatory.align(),
        End::Top,
        &memory::BELOW_4G,
    )?;
    let line = final_command_line(request, capture.as_ref())?;
    let contents = Contents { command_line: &line, initrd, capture: capture.as_ref() };
    let dtb_at = device_tree::place(&mut layout, request, facts, machine, &contents)?;

    let mut registers = [0; 8];
    registers[ppc64::R3] = dtb_at.start;
    registers[ppc64::R4] = kernel.start;
    let opal = machine.opal.map_or((0, 0), |opal| (opal.range.start, opal.entry));
    (registers[ppc64::R8], registers[ppc64::R9]) = opal;
    let mode = HandoffMode::Ppc64 as u32;
    let task = Task {
        handoff: Handoff { mode, reserved: 0, entry: kernel.entry, registers },
        backup: capture.and_then(|capture| capture.copy()),
        zero: kernel.zero,
        firmware: firmware(machine),
        trampoline: Some(image.trampoline),
    };
    let entry = seal::seal(&mut layout, &request.options, purgatory, purgatory_at, &task)?;
    let mut segments = layout.segments;
    segments.sort_by_key(|segment| segment.address);
    Ok(Plan {
        target: request.target,
        entry_mode: EntryMode::Vmlinux,
        bases: None,
        entry_reason: request.options.entry_reason.clone(),
        entry,
        segments,
        command_line: line,
    })
}

/// The running kernel's own initrd, when the next one is to have it.
fn retained_initrd(request: &Request<'_>, machine: &Ppc64) -> Result<Option<PhysRange>, PlanError> {
    match (request.options.reuse_initrd, request.target) {
        (false, _) => Ok(None),
        (true, Target::Crash) => Err(PlanError::InitrdNotReserved),
        (true, Target::Reboot) => machine.initrd.ok_or(PlanError::NoInitrdToReuse).map(Some),
    }
}

/// What purgatory calls.
fn firmware(machine: &Ppc64) -> Firmware {
    let rtas = machine.rtas;
    let opal = machine.opal;
    Firmware {
        rtas_base: rtas.map_or(0, |rtas| rtas.range.start),
        rtas_entry: rtas.map_or(0, |rtas| rtas.entry),
        opal_base: opal.map_or(0, |opal| opal.range.start),
        opal_entry: opal.map_or(0, |opal| opal.entry),
        system_reboot: rtas.and_then(|rtas| rtas.system_reboot).unwrap_or(0),
        reserved: 0,
    }
}

/// The running kernel's byte order.
fn byte_order(arch: Arch) -> Endianness {
    match arch {
        Arch::Ppc64le => Endianness::Little,
        Arch::Ppc64 | Arch::X86_64 | Arch::I386 => Endianness::Big,
    }
}

fn final_command_line(
    request: &Request<'_>,
    capture: Option<&Capture>,
) -> Result<String, PlanError> {
    let mut line = String::from(request.command_line);
    if let Some(capture) = capture {
        line = command_line::add_parameter(&line, &capture.parameter());
    }
    command_line::check(&line, CMDLINE_SIZE)?;
    Ok(line)
}
