//! The plan for a kernel on a PC that is not started as Linux is: a Multiboot kernel, or an ELF file
//! with boot notes or without anything. It runs where it is linked, unless it says that it may be
//! moved; there is no boot_params.

mod elf_notes;
mod multiboot;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use purgatory::params::{Firmware, Handoff, HandoffMode, x86};

use crate::facts::x86::X86;
use crate::facts::{Arch, Facts};
use crate::image::multiboot::{Relocatable, Version};
use crate::image::{Multiboot, Vmlinux};
use crate::plan::layout::{ANYWHERE, Layout};
use crate::plan::place::End;
use crate::plan::seal::{self, Task};
use crate::plan::x86::kernel::{self, PlacedKernel};
use crate::plan::x86::memory_map::{self, LOW_1M};
use crate::plan::x86::{LOW_4G, PAGE};
use crate::plan::{
    ElfArguments, EntryMode, Module, Plan, PlanError, Program, Request, Target, What, command_line,
    elf,
};
use crate::range::PhysRange;
use multiboot::{Information, PlacedModule};

/// What the loader calls itself.
const LOADER: &str = "purgatorio";

/// The plan.
pub fn plan<'a>(
    request: &Request<'a>,
    program: Program<'a>,
    facts: &Facts,
    x86: &X86,
    purgatory: &linker::Image<'_>,
) -> Result<Plan<'a>, PlanError> {
    let protocol = protocol(program);
    if request.target == Target::Crash {
        return Err(PlanError::NotForCrash { protocol });
    }
    if request.initrd.is_some() {
        return Err(PlanError::NoPlaceForInitrd { protocol });
    }
    command_line::check(request.command_line, u64::MAX)?;
    let memory = memory_map::reboot(facts, x86, PAGE);
    let mut layout = Layout::new(&memory, request.options.window(), PAGE)?;
    let kernel = place(&mut layout, program, facts.arch)?;
    // Only the program itself may lie below 1 MiB, if it is linked there. A 32-bit program reads what is
    // below 4 GiB, and purgatory gets into 32-bit mode only there.
    let window = match kernel.cpu_mode {
        HandoffMode::X86Long => PhysRange::new(LOW_1M, ANYWHERE.end),
        HandoffMode::X86Protected | HandoffMode::Ppc64 => PhysRange::new(LOW_1M, LOW_4G.end),
    };
    let told = match program {
        Program::Multiboot { image, modules } => {
            let modules = place_modules(&mut layout, modules, window)?;
            let information = Information {
                command_line: request.command_line,
                modules: &modules,
                memory_map: &x86.firmware_map,
                load_base: image.relocatable.map(|_| kernel.start),
            };
            tell(&mut layout, window, |base| information.bytes(image.version, base))?
        }
        Program::Elf { arguments: ElfArguments::Notes, .. } => {
            let line = request.command_line;
            tell(&mut layout, window, |base| elf_notes::with_stack(line, base))?
        }
        Program::Elf { arguments: ElfArguments::None, .. } => 0,
    };
    let purgatory_at =
        layout.take(What::Purgatory, purgatory.size(), purgatory.align(), End::Top, &[window])?;
    let task = Task {
        handoff: handoff(program, &kernel, told),
        backup: None,
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
        bases: None,
        entry_reason: None,
        entry,
        segments,
        command_line: String::from(request.command_line),
    })
}

fn protocol(program: Program<'_>) -> &'static str {
    match program {
        Program::Multiboot { image: Multiboot { version: Version::One, .. }, .. } => "Multiboot",
        Program::Multiboot { image: Multiboot { version: Version::Two, .. }, .. } => "Multiboot2",
        Program::Elf { arguments: ElfArguments::Notes, .. } => "--args-elf",
        Program::Elf { arguments: ElfArguments::None, .. } => "--args-none",
    }
}

/// Finds room for the program and puts its segments there.
pub fn place<'a>(
    layout: &mut Layout<'a>,
    program: Program<'a>,
    arch: Arch,
) -> Result<PlacedKernel, PlanError> {
    match program {
        Program::Multiboot { image, .. } => place_multiboot(layout, image),
        Program::Elf { vmlinux, .. } => {
            kernel::check_machine(vmlinux, arch)?;
            place_elf(layout, vmlinux)
        }
    }
}

fn place_multiboot<'a>(
    layout: &mut Layout<'a>,
    image: &'a Multiboot<'a>,
) -> Result<PlacedKernel, PlanError> {
    let mode = match image.version {
        Version::One => EntryMode::Multiboot,
        Version::Two => EntryMode::Multiboot2,
    };
    let mut placed = place_loads(layout, &image.program, image.entry, image.relocatable)?;
    // Both versions know one state of the machine for i386, also for a 64-bit file.
    (placed.mode, placed.cpu_mode) = (mode, HandoffMode::X86Protected);
    Ok(placed)
}

fn place_elf<'a>(
    layout: &mut Layout<'a>,
    vmlinux: &'a Vmlinux<'a>,
) -> Result<PlacedKernel, PlanError> {
    let entry = vmlinux.entry_by_p_paddr().or(vmlinux.entry_by_p_vaddr());
    let no_entry = PlanError::Entry { entry: vmlinux.entry, range: vmlinux.range() };
    place_loads(layout, vmlinux, entry.ok_or(no_entry)?, None)
}

/// Puts the program where it is linked, or where it may be moved to.
fn place_loads<'a>(
    layout: &mut Layout<'a>,
    vmlinux: &'a Vmlinux<'a>,
    entry: u64,
    relocatable: Option<Relocatable>,
) -> Result<PlacedKernel, PlanError> {
    let align = relocatable.map_or(PAGE, |to| u64::from(to.align).max(PAGE));
    // Its place is aligned, wherever it is linked.
    let linked = elf::linked(vmlinux, PAGE);
    let window = match relocatable {
        Some(Relocatable { min, max, .. }) => PhysRange::inclusive(min.into(), max.into()),
        None => {
            let end = linked.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
            PhysRange::new(linked.start, end)
        }
    };
    let place = elf::Place::find(layout, linked, align, End::Bottom, &[window])?;
    let zero = place.put(layout, vmlinux.loads.clone());
    Ok(PlacedKernel {
        mode: EntryMode::Elf,
        cpu_mode: if vmlinux.is_64 { HandoffMode::X86Long } else { HandoffMode::X86Protected },
        entry: place.moved(entry),
        start: place.moved(vmlinux.range().start),
        zero,
        bases: None,
    })
}

/// Puts the modules behind each other, each on pages of its own, as low as they may be: a small kernel
/// maps no more than the memory near its own. They are one segment, because kexec_load takes few.
fn place_modules<'a>(
    layout: &mut Layout<'a>,
    modules: &[Module<'a>],
    window: PhysRange,
) -> Result<Vec<PlacedModule<'a>>, PlanError> {
    let mut places = Vec::new();
    let mut length = 0_u64;
    for module in modules {
        let start = length.next_multiple_of(PAGE);
        length = start + module.data.len() as u64;
        places.push((start, length));
    }
    if length == 0 {
        // A module may be empty: all of them are nothing at address 0.
        let nothing =
            |module: &Module<'a>| PlacedModule { range: PhysRange::default(), text: module.text };
        return Ok(modules.iter().map(nothing).collect());
    }
    let at = layout.take(What::Modules, length, PAGE, End::Bottom, &[window])?;
    let data = match modules {
        [module] => Cow::Borrowed(module.data),
        several => Cow::Owned(joined(several, &places)),
    };
    layout.put(What::Modules, data, at);
    let placed = modules.iter().zip(places).map(|(module, (start, end))| PlacedModule {
        range: PhysRange::new(at.start + start, at.start + end),
        text: module.text,
    });
    Ok(placed.collect())
}

/// The modules, each at its start in `places`.
fn joined(modules: &[Module<'_>], places: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (module, (start, _)) in modules.iter().zip(places) {
        // All of them are in this program's memory.
        bytes.resize(usize::try_from(*start).unwrap_or(usize::MAX), 0);
        bytes.extend_from_slice(module.data);
    }
    bytes
}

/// Puts the bytes that `make` makes for an address to that address, which is the answer. How many they
/// are does not depend on it.
fn tell(
    layout: &mut Layout<'_>,
    window: PhysRange,
    make: impl Fn(u64) -> Vec<u8>,
) -> Result<u64, PlanError> {
    let size = make(window.start).len() as u64;
    let at = layout.take(What::BootInformation, size, PAGE, End::Bottom, &[window])?;
    layout.put(What::BootInformation, Cow::Owned(make(at.start)), at);
    Ok(at.start)
}

/// The registers at the entry.
fn handoff(program: Program<'_>, kernel: &PlacedKernel, told: u64) -> Handoff {
    let mut registers = [0; 8];
    match program {
        // "Machine state", Multiboot 3.2 and Multiboot2 3.3.
        Program::Multiboot { image, .. } => {
            registers[x86::RAX] = match image.version {
                Version::One => 0x2bad_b002,
                Version::Two => 0x36d7_6289,
            };
            registers[x86::RBX] = told;
        }
        // As a C function's first argument.
        Program::Elf { vmlinux, arguments: ElfArguments::Notes } if vmlinux.is_64 => {
            registers[x86::RDI] = elf_notes::address(told);
        }
        Program::Elf { arguments: ElfArguments::Notes, .. } => {
            registers[x86::RSP] = elf_notes::stack(told);
        }
        Program::Elf { arguments: ElfArguments::None, .. } => {}
    }
    Handoff { mode: kernel.cpu_mode as u32, reserved: 0, entry: kernel.entry, registers }
}
