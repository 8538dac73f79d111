//! The kernel's place: a bzImage as one segment, an ELF kernel as the segments of its PT_LOADs.

use alloc::{borrow::Cow, vec::Vec};

use object::elf::{EM_386, EM_X86_64};
use purgatory::params::{HandoffMode, Span};

use crate::facts::Arch;
use crate::image::{BzImage, Relocations, Vmlinux, XloadFlags};
use crate::plan::elf;
use crate::plan::layout::{ANYWHERE, Layout};
use crate::plan::place::End;
use crate::plan::x86::kaslr::{self, Bases, Fixed, Seed};
use crate::plan::x86::{LOW_4G, PAGE, program};
use crate::plan::{EntryMode, Kernel, PlanError, Target, What};
use crate::range::PhysRange;

/// A 64-bit kernel's own page tables map it with 2 MiB pages (kernel 6.1 arch/x86/kernel/head64.c,
/// `__startup_64` refuses another alignment).
const LARGE_PAGE: u64 = 2 << 20;
/// A bzImage's 64-bit entry is so far behind the start of its protected-mode code
/// (Documentation/x86/boot.rst, "64-bit Boot Protocol").
const ENTRY_64: u64 = 0x200;

/// What a kernel says about itself, or what is assumed of one that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It is a 64-bit kernel.
    pub is_64bit: bool,
    /// Where its own code and data may be.
    pub reach: PhysRange,
    /// It, its initrd, command line and boot_params may be above 4 GiB.
    pub above_4g: bool,
    /// Highest address of the initrd's last byte.
    pub initrd_addr_max: u64,
    /// Longest command line without the final NUL.
    pub cmdline_size: u64,
    /// It reads acpi_rsdp_addr of boot_params (boot protocol 2.14).
    pub reads_acpi_rsdp: bool,
    /// It can use EFI runtime services after a kexec.
    pub efi_kexec: bool,
}

/// `COMMAND_LINE_SIZE` of x86 (kernel 6.1 arch/x86/include/asm/setup.h) without the NUL: for a
/// vmlinux file, which does not say it.
const CMDLINE_SIZE: u64 = 2047;
/// What every bzImage says (kernel 6.1 arch/x86/boot/header.S): for a 32-bit vmlinux file.
const INITRD_ADDR_MAX: u64 = 0x7fff_ffff;
/// `__PAGE_OFFSET` of a 32-bit kernel, unless it is built with another split of its address space
/// (CONFIG_VMSPLIT).
const PAGE_OFFSET: u64 = 0xc000_0000;

impl Abilities {
    /// Of the kernel with this entry.
    pub fn of(kernel: &Kernel<'_>) -> Self {
        match *kernel {
            Kernel::BzImage { image, entry_32bit } => {
                Self::of_bzimage(image, entry_32bit, PAGE_OFFSET)
            }
            Kernel::Direct { header: Some(image), vmlinux } => {
                Self::of_bzimage(image, false, page_offset(vmlinux))
            }
            Kernel::Direct { header: None, vmlinux } => Self::of_vmlinux(vmlinux),
            Kernel::Program(program) => Self::of_vmlinux(program.elf()),
        }
    }

    fn of_vmlinux(vmlinux: &Vmlinux<'_>) -> Self {
        Self {
            is_64bit: vmlinux.is_64,
            reach: reach(vmlinux.is_64, page_offset(vmlinux)),
            above_4g: vmlinux.is_64,
            initrd_addr_max: if vmlinux.is_64 { u64::MAX } else { INITRD_ADDR_MAX },
            cmdline_size: CMDLINE_SIZE,
            reads_acpi_rsdp: true,
            efi_kexec: vmlinux.is_64,
        }
    }

    fn of_bzimage(image: &BzImage<'_>, entry_32bit: bool, page_offset: u64) -> Self {
        let header = &image.header;
        let flags = header.xloadflags;
        let is_64bit = flags.contains(XloadFlags::KERNEL_64);
        let above_4g = flags.contains(XloadFlags::CAN_BE_LOADED_ABOVE_4G) && !entry_32bit;
        Self {
            is_64bit,
            reach: reach(is_64bit, page_offset),
            above_4g,
            initrd_addr_max: if above_4g { u64::MAX } else { header.initrd_addr_max.into() },
            cmdline_size: header.cmdline_size.into(),
            reads_acpi_rsdp: header.version >= 0x020e,
            efi_kexec: flags.contains(XloadFlags::EFI_KEXEC),
        }
    }
}

/// A 32-bit kernel runs in its low memory: what it maps for good, from `page_offset` to the end of
/// the address space but for [`NOT_LOW_MEMORY`].
fn reach(is_64bit: bool, page_offset: u64) -> PhysRange {
    if is_64bit {
        return ANYWHERE;
    }
    let end = LOW_4G.end.saturating_sub(page_offset).saturating_sub(NOT_LOW_MEMORY);
    PhysRange::new(0, end)
}

/// A 32-bit kernel keeps 128 MiB for vmalloc (`__VMALLOC_RESERVE`, kernel 6.1
/// arch/x86/mm/pgtable_32.c), and above it some for fixed mappings: 16 MiB in Debian's PAE kernel,
/// whose low memory ends at 0x36ffe000.
const NOT_LOW_MEMORY: u64 = (128 + 32) << 20;

/// The distance between an ELF kernel's virtual and physical addresses.
fn page_offset(vmlinux: &Vmlinux<'_>) -> u64 {
    vmlinux.loads.first().map_or(0, |load| load.p_vaddr.wrapping_sub(load.p_paddr))
}

/// A kernel in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedKernel {
    /// Which entry.
    pub mode: EntryMode,
    /// The CPU's mode there.
    pub cpu_mode: HandoffMode,
    /// Physical address of its first instruction.
    pub entry: u64,
    /// Physical address of its first byte.
    pub start: u64,
    /// What purgatory clears: zeroes of the file that are not loaded.
    pub zero: Vec<Span>,
    /// Where it runs, if its place was there to be chosen: it is entered directly, for a reboot.
    pub bases: Option<Bases>,
}

/// A kernel that is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a, 'w> {
    /// It, with its entry.
    pub kernel: Kernel<'a>,
    /// What it can do.
    pub abilities: &'w Abilities,
    /// What it is for.
    pub target: Target,
    /// Random numbers for its addresses, or why they are fixed. Those of a crash kernel always are.
    pub seed: Result<Seed, Fixed>,
    /// The running kernel's architecture.
    pub arch: Arch,
    /// Where it may be, the best first.
    pub windows: &'w [PhysRange],
}

/// Finds room for the kernel and puts its segments there.
///
/// Unless its address is random it goes as low as it may, everything else as high as it may: the
/// kernel ends up where a boot loader would have put it, and what it allocates while it starts is
/// above it.
pub fn place<'a>(
    layout: &mut Layout<'a>,
    wanted: &Wanted<'a, '_>,
) -> Result<PlacedKernel, PlanError> {
    let reach = wanted.abilities.reach;
    let windows = within(reach, wanted.windows);
    let (reserved, end) = (layout.extent(), reach.end);
    if wanted.target == Target::Crash && reserved.start >= end {
        return Err(PlanError::AboveLowMemory { reserved, end });
    }
    match wanted.kernel {
        Kernel::BzImage { image, entry_32bit } => {
            place_bzimage(layout, image, entry_32bit, &windows)
        }
        Kernel::Direct { header, vmlinux } => {
            check_machine(vmlinux, wanted.arch)?;
            place_direct(layout, header, vmlinux, wanted, &windows)
        }
        Kernel::Program(program) => program::place(layout, program, wanted.arch),
    }
}

fn place_bzimage<'a>(
    layout: &mut Layout<'a>,
    image: &'a BzImage<'a>,
    entry_32bit: bool,
    windows: &[PhysRange],
) -> Result<PlacedKernel, PlanError> {
    let header = &image.header;
    if !entry_32bit && !header.xloadflags.contains(XloadFlags::KERNEL_64) {
        return Err(PlanError::No64BitEntry);
    }
    let size = u64::from(header.init_size).max(image.kernel.len() as u64);
    let align = alignment(image)?;
    let at = if header.relocatable_kernel {
        // Below pref_address the decompressor would move itself up to it, out of its segment.
        let windows = from(header.pref_address, windows);
        layout.take(What::Kernel, size, align, End::Bottom, &windows)?
    } else {
        let end = header.pref_address.saturating_add(size).checked_next_multiple_of(PAGE);
        let exact = PhysRange::new(header.pref_address, end.unwrap_or(u64::MAX));
        layout.take(What::Kernel, size, PAGE, End::Bottom, &[exact])?
    };
    layout.put(What::Kernel, Cow::Borrowed(image.kernel), at);
    let (mode, cpu_mode, offset) = if entry_32bit {
        (EntryMode::BzImage32, HandoffMode::X86Protected, 0)
    } else {
        (EntryMode::BzImage64, HandoffMode::X86Long, ENTRY_64)
    };
    // `at` has at least a page.
    Ok(PlacedKernel {
        mode,
        cpu_mode,
        entry: at.start + offset,
        start: at.start,
        zero: Vec::new(),
        bases: None,
    })
}

fn alignment(image: &BzImage<'_>) -> Result<u64, PlanError> {
    let value = u64::from(image.header.kernel_alignment);
    if value.is_power_of_two() {
        Ok(value)
    } else {
        Err(PlanError::SetupHeader { field: "kernel_alignment", value })
    }
}

/// The parts of `windows` at and above `start`.
fn from(start: u64, windows: &[PhysRange]) -> Vec<PhysRange> {
    within(PhysRange::new(start, u64::MAX), windows)
}

/// The parts of `windows` that are in `range`.
fn within(range: PhysRange, windows: &[PhysRange]) -> Vec<PhysRange> {
    windows.iter().filter_map(|window| window.intersection(&range)).collect()
}

/// Purgatory gets from the running kernel's mode to the same one or to 32 bits.
pub fn check_machine(vmlinux: &Vmlinux<'_>, arch: Arch) -> Result<(), PlanError> {
    let (allows_64bit, wanted) = match arch {
        Arch::X86_64 => (true, "x86_64 (62, 64 bits) and i386 (3, 32 bits)"),
        Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => (false, "i386 (3, 32 bits)"),
    };
    let is_i386 = vmlinux.machine == EM_386.0 && !vmlinux.is_64;
    let is_x86_64 = vmlinux.machine == EM_X86_64.0 && vmlinux.is_64;
    if is_i386 || (is_x86_64 && allows_64bit) {
        return Ok(());
    }
    let bits = if vmlinux.is_64 { 64 } else { 32 };
    Err(PlanError::Machine { e_machine: vmlinux.machine, bits, wanted })
}

fn place_direct<'a>(
    layout: &mut Layout<'a>,
    header: Option<&BzImage<'_>>,
    vmlinux: &'a Vmlinux<'a>,
    wanted: &Wanted<'_, '_>,
    windows: &[PhysRange],
) -> Result<PlacedKernel, PlanError> {
    if vmlinux.entry_by_p_paddr().is_none() {
        return Err(PlanError::Entry { entry: vmlinux.entry, range: vmlinux.range() });
    }
    let align = match header {
        Some(image) => alignment(image)?,
        None => elf::largest_alignment(vmlinux),
    };
    let (cpu_mode, align) = if vmlinux.is_64 {
        (HandoffMode::X86Long, align.max(LARGE_PAGE))
    } else {
        (HandoffMode::X86Protected, align)
    };
    let linked = elf::linked(vmlinux, align);
    // Behind a payload's kernel there is nothing else; behind a 64-bit vmlinux file may be anything,
    // and a few zeroes are padding.
    let has_table = if header.is_some() || !vmlinux.is_64 {
        !vmlinux.tail.is_empty()
    } else {
        vmlinux.tail.iter().any(|byte| *byte != 0)
            && Relocations::parse(vmlinux.tail, vmlinux.is_64).is_ok()
    };
    let seed = wanted.seed.and_then(|seed| if has_table { Ok(seed) } else { Err(Fixed::NoTable) });
    let place = match (wanted.target, seed) {
        (Target::Reboot, Ok(seed)) => {
            // As the decompressor has it, anywhere else is better than nowhere.
            let windows =
                [within(kaslr::window(vmlinux, linked), windows), windows.to_vec()].concat();
            elf::Place::find(layout, linked, align, End::Random(seed.physical), &windows)?
        }
        // A 32-bit kernel holds its own addresses.
        (_, _) if !vmlinux.is_64 && !has_table => place_as_linked(layout, linked, align)?,
        // Where it is linked to run, as a boot loader would do it, if that is free.
        (Target::Reboot, Err(_)) => {
            let windows = [from(linked.start, windows), windows.to_vec()].concat();
            elf::Place::find(layout, linked, align, End::Bottom, &windows)?
        }
        (Target::Crash, _) => elf::Place::find(layout, linked, align, End::Bottom, windows)?,
    };
    let distance = match (wanted.target, seed) {
        // The virtual addresses of its low memory move with the physical ones.
        (_, _) if !vmlinux.is_64 => place.start.wrapping_sub(linked.start),
        (Target::Reboot, Ok(seed)) => kaslr::virtual_distance(linked, align, seed.virtual_64),
        // It finds out where it is and fixes its page tables itself.
        (Target::Reboot, Err(_)) | (Target::Crash, _) => 0,
    };
    let mut loads = vmlinux.loads.clone();
    if distance != 0 {
        Relocations::parse(vmlinux.tail, vmlinux.is_64)?.apply(&mut loads, distance)?;
    }
    let first = loads.first().map(|load| Bases {
        physical: place.moved(load.p_paddr),
        virtual_address: load.p_vaddr.wrapping_add(distance),
        fixed: seed.err(),
    });
    Ok(PlacedKernel {
        mode: EntryMode::Direct,
        cpu_mode,
        entry: place.moved(vmlinux.entry),
        start: place.start,
        zero: place.put(layout, loads),
        bases: first.filter(|_| wanted.target == Target::Reboot),
    })
}

/// The place of a 32-bit kernel that cannot be relocated.
fn place_as_linked(
    layout: &mut Layout<'_>,
    linked: PhysRange,
    align: u64,
) -> Result<elf::Place, PlanError> {
    let end = linked.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    let exact = [PhysRange::new(linked.start, end)];
    elf::Place::find(layout, linked, align, End::Bottom, &exact).map_err(|error| match error {
        PlanError::NoRoom { .. } => PlanError::NoRelocationTable { range: linked },
        other => other,
    })
}
