//! The plan for a kernel on a PC, 32-bit or 64-bit. Linux has boot_params in rsi (esi) at its entry;
//! what is not Linux is in `program`.

pub mod boot_params;
pub mod entry;
pub mod kaslr;
mod kernel;
mod memory_map;
mod program;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_i386;

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use object::elf::{EM_386, EM_X86_64};
use object::endian::Endianness;
use purgatory::params::{Firmware, Handoff, x86};

use crate::elfcore::{Class, Format};
use crate::facts::x86::{Efi, MemoryRange, X86};
use crate::facts::{Arch, Facts};
use crate::plan::capture::Capture;
use crate::plan::error::Above4GHint;
use crate::plan::layout::{self, ANYWHERE, Layout};
use crate::plan::place::End;
use crate::plan::seal::{self, Task};
use crate::plan::{Kernel, Plan, PlanError, Request, Target, What, command_line, initrd};
use crate::range::PhysRange;
use boot_params::{BootParams, SetupData};
use kernel::{Abilities, PlacedKernel};
use memory_map::LOW_1M;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// What a 32-bit address reaches.
const LOW_4G: PhysRange = PhysRange::new(0, 1 << 32);

/// The plan.
pub fn plan<'a>(
    request: &Request<'a>,
    facts: &Facts,
    x86: &X86,
    purgatory: &linker::Image<'_>,
) -> Result<Plan<'a>, PlanError> {
    match request.kernel {
        Kernel::Program(program) => program::plan(request, program, facts, x86, purgatory),
        Kernel::BzImage { .. } | Kernel::Direct { .. } => linux(request, facts, x86, purgatory),
    }
}

/// The plan for Linux. Each step needs the addresses of those before it: the core headers say where the
/// backup is, the command line where the core headers are, boot_params where both are, and
/// purgatory seals them all.
fn linux<'a>(
    request: &Request<'a>,
    facts: &Facts,
    x86: &X86,
    purgatory: &linker::Image<'_>,
) -> Result<Plan<'a>, PlanError> {
    let abilities = Abilities::of(&request.kernel);
    let memory = match request.target {
        Target::Crash => alloc::vec![layout::crash_memory(facts)?],
        Target::Reboot => memory_map::reboot(facts, x86, LOW_1M),
    };
    let mut layout = Layout::new(&memory, request.options.window(), PAGE)?;
    let windows = windows(request, &abilities, &layout)?;
    let wanted = kernel::Wanted {
        kernel: request.kernel,
        abilities: &abilities,
        target: request.target,
        seed: kaslr::seed(request.command_line, request.options.kaslr_seed),
        arch: facts.arch,
        windows: &windows,
    };
    // The initrd first: beside a kernel in a random place there might be no piece large enough for it.
    let initrd = initrd::place(&mut layout, request.initrd, &initrd_windows(&abilities, &windows))?;
    let kernel = kernel::place(&mut layout, &wanted)?;
    let capture = match request.target {
        Target::Crash => Some(Capture::place(
            &mut layout,
            facts,
            memory_map::backup_source(facts),
            core_format(request.options.core_class, facts, &abilities),
            request.options.hotplug,
        )?),
        Target::Reboot => None,
    };
    let purgatory_at =
        layout.take(What::Purgatory, purgatory.size(), purgatory.align(), End::Top, &windows)?;
    let machine = Machine {
        memory_map: match &capture {
            Some(capture) => memory_map::crash(facts, x86, &capture.kept()),
            None => x86.firmware_map.clone(),
        },
        efi: efi_handoff(request, x86, &abilities),
        x86,
    };
    let line = final_command_line(request, &abilities, &machine, capture.as_ref())?;
    let line_at = place_command_line(&mut layout, &line, &windows)?;
    let boot_params = Pointers { kernel: &kernel, initrd, line: line_at.start };
    let boot_params_at =
        place_boot_params(&mut layout, request, &abilities, &machine, &boot_params, &windows)?;

    let task = Task {
        handoff: handoff(&kernel, boot_params_at.start),
        backup: capture.and_then(|capture| capture.copy()),
        zero: kernel.zero,
        firmware: Firmware::default(),
        trampoline: None,
    };
    let entry = seal::seal(&mut layout, &request.options, purgatory, purgatory_at, &task)?;
    let mut segments = layout.segments;
    segments.sort_by_key(|segment| segment.address);
    Ok(Plan {
        target: request.target,
        entry_mode: kernel.mode,
        entry_reason: request.options.entry_reason.clone(),
        bases: kernel.bases,
        entry,
        segments,
        command_line: line,
    })
}

/// Where segments may be, the best first.
fn windows(
    request: &Request<'_>,
    abilities: &Abilities,
    layout: &Layout<'_>,
) -> Result<Vec<PhysRange>, PlanError> {
    let reserved = layout.extent();
    match (abilities.above_4g, request.target) {
        (true, Target::Crash) => Ok(alloc::vec![ANYWHERE]),
        // Below 4 GiB every firmware and every kernel finds it.
        (true, Target::Reboot) => Ok(alloc::vec![LOW_4G, ANYWHERE]),
        (false, Target::Crash) if !reserved.overlaps(&LOW_4G) => {
            let hint = match request.kernel {
                Kernel::BzImage { entry_32bit: true, .. } => Above4GHint::Not32Bit,
                Kernel::BzImage { .. } | Kernel::Direct { .. } | Kernel::Program(_) => {
                    Above4GHint::ReserveBelow
                }
            };
            Err(PlanError::Above4G { reserved, hint })
        }
        (false, _) => Ok(alloc::vec![LOW_4G]),
    }
}

/// Where the kernel can read an initrd.
fn initrd_windows(abilities: &Abilities, windows: &[PhysRange]) -> Vec<PhysRange> {
    let reach = PhysRange::inclusive(0, abilities.initrd_addr_max);
    windows.iter().filter_map(|window| window.intersection(&reach)).collect()
}

/// The core headers' format: unless the user says which class, the least that can describe the
/// machine's memory. A 64-bit capture kernel takes headers for x86_64 alone, a 32-bit one
/// also those in ELF-64 (kernel 6.1 fs/proc/vmcore.c, `vmcore_elf64_check_arch`).
fn core_format(class: Option<Class>, facts: &Facts, capture: &Abilities) -> Format {
    let dead_is_32bit = facts.arch == Arch::I386;
    let is_low = |ram: &PhysRange| ram.end <= LOW_4G.end;
    let suitable = if dead_is_32bit && !capture.is_64bit && facts.system_ram.iter().all(is_low) {
        Class::Elf32
    } else {
        Class::Elf64
    };
    let class = class.unwrap_or(suitable);
    let machine = match class {
        Class::Elf32 | Class::Elf64 if capture.is_64bit => EM_X86_64,
        Class::Elf64 if !dead_is_32bit => EM_X86_64,
        Class::Elf32 | Class::Elf64 => EM_386,
    };
    Format { class, endian: Endianness::Little, machine }
}

/// What the next kernel is told about the machine.
struct Machine<'f> {
    memory_map: Vec<MemoryRange>,
    /// EFI and the running kernel's `boot_params`, when EFI is handed on.
    efi: Option<(&'f Efi, &'f [u8])>,
    x86: &'f X86,
}

/// EFI is handed on when both kernels can and the user does not mind.
fn efi_handoff<'f>(
    request: &Request<'_>,
    x86: &'f X86,
    abilities: &Abilities,
) -> Option<(&'f Efi, &'f [u8])> {
    let running = x86.boot_params.as_deref().filter(|params| boot_params::has_efi64(params))?;
    let efi = x86.efi.as_ref().filter(|efi| !efi.runtime_map.is_empty())?;
    (request.options.efi && abilities.efi_kexec).then_some((efi, running))
}

fn final_command_line(
    request: &Request<'_>,
    abilities: &Abilities,
    machine: &Machine<'_>,
    capture: Option<&Capture>,
) -> Result<String, PlanError> {
    let mut line = String::from(request.command_line);
    if let Some(capture) = capture {
        if request.options.pass_memmap_cmdline {
            line = memory_map::add_to_command_line(&line, &machine.memory_map);
        }
        line = command_line::add_parameter(&line, &capture.parameter());
        if let (Some(rsdp), None) = (machine.x86.acpi_rsdp, machine.efi) {
            line = command_line::add_parameter(&line, &format!("acpi_rsdp={rsdp:#x}"));
        }
    }
    command_line::check(&line, abilities.cmdline_size)?;
    Ok(line)
}

fn place_command_line(
    layout: &mut Layout<'_>,
    line: &str,
    windows: &[PhysRange],
) -> Result<PhysRange, PlanError> {
    let mut bytes = Vec::from(line);
    bytes.push(0);
    let at = layout.take(What::CommandLine, bytes.len() as u64, PAGE, End::Top, windows)?;
    layout.put(What::CommandLine, Cow::Owned(bytes), at);
    Ok(at)
}

/// What boot_params point to.
struct Pointers<'p> {
    kernel: &'p PlacedKernel,
    initrd: Option<PhysRange>,
    line: u64,
}

/// boot_params, behind it the EFI memory map, then the setup_data list.
fn place_boot_params(
    layout: &mut Layout<'_>,
    request: &Request<'_>,
    abilities: &Abilities,
    machine: &Machine<'_>,
    pointers: &Pointers<'_>,
    windows: &[PhysRange],
) -> Result<PhysRange, PlanError> {
    let device_tree = request.options.device_tree.as_ref().map(|tree| tree.write(0)).transpose()?;
    let setup_data: Vec<SetupData> = [
        SetupData::e820_ext(&machine.memory_map),
        device_tree.map(SetupData::device_tree),
        machine.efi.map(|(efi, _)| SetupData::efi(efi)),
        request.options.rng_seed.as_ref().map(SetupData::rng_seed),
    ]
    .into_iter()
    .flatten()
    .collect();
    // A multiple of 8 like boot_params itself, so the list behind it is aligned.
    let efi_map = machine.efi.map(|(efi, _)| boot_params::efi_memory_map(efi)).unwrap_or_default();
    let size = boot_params::SIZE + efi_map.len() + boot_params::setup_data_size(&setup_data);
    let at = layout.take(What::BootParams, size as u64, PAGE, End::Top, windows)?;
    let efi_map_at = at.start + boot_params::SIZE as u64;
    let setup_data_at = efi_map_at + efi_map.len() as u64;

    let mut params = header(&request.kernel);
    if let Some(running) = &machine.x86.boot_params {
        params.inherit(running);
    }
    if let Some((_, running)) = machine.efi {
        let size = u32::try_from(efi_map.len()).unwrap_or(u32::MAX);
        params.inherit_efi(running, efi_map_at, size);
    }
    params.set_e820(&machine.memory_map);
    if let Some(rsdp) = machine.x86.acpi_rsdp.filter(|_| abilities.reads_acpi_rsdp) {
        params.set_acpi_rsdp(rsdp);
    }
    if pointers.kernel.bases.is_some_and(|bases| bases.fixed.is_none()) {
        params.set_kaslr();
    }
    let initrd = pointers.initrd.unwrap_or_default();
    params.set_ramdisk(initrd.start, initrd.len());
    params.set_command_line(pointers.line);
    if let Ok(start) = u32::try_from(pointers.kernel.start) {
        params.set_code32_start(start);
    }
    params.set_setup_data(if setup_data.is_empty() { 0 } else { setup_data_at });

    let mut bytes = params.into_bytes();
    bytes.extend(efi_map);
    bytes.extend(boot_params::setup_data_list(&setup_data, setup_data_at));
    layout.put(What::BootParams, Cow::Owned(bytes), at);
    Ok(at)
}

fn header(kernel: &Kernel<'_>) -> BootParams {
    match kernel {
        Kernel::BzImage { image, .. } | Kernel::Direct { header: Some(image), .. } => {
            BootParams::with_header(image.header_bytes())
        }
        Kernel::Direct { header: None, .. } | Kernel::Program(_) => BootParams::minimal(),
    }
}

/// The registers of boot.rst: boot_params in rsi; the 32-bit protocol wants ebp, edi and ebx
/// zero.
fn handoff(kernel: &PlacedKernel, boot_params: u64) -> Handoff {
    let mut registers = [0; 8];
    registers[x86::RSI] = boot_params;
    Handoff { mode: kernel.cpu_mode as u32, reserved: 0, entry: kernel.entry, registers }
}
