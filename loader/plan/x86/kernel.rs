//! The kernel's place: a bzImage as one segment, an ELF kernel as the segments of its PT_LOADs,
//! all moved by one distance.

use alloc::{borrow::Cow, vec::Vec};

use object::elf::EM_X86_64;
use purgatory::params::Span;

use crate::image::{BzImage, Load, Vmlinux, XloadFlags};
use crate::plan::elf;
use crate::plan::layout::Layout;
use crate::plan::place::End;
use crate::plan::x86::PAGE;
use crate::plan::{EntryMode, Kernel, PlanError, Request, Target, What};
use crate::range::PhysRange;

/// The kernel's own page tables map it with 2 MiB pages (kernel 6.1 arch/x86/kernel/head64.c,
/// `__startup_64` refuses another alignment).
const LARGE_PAGE: u64 = 2 << 20;
/// A bzImage's 64-bit entry is so far behind the start of its protected-mode code
/// (Documentation/x86/boot.rst, "64-bit Boot Protocol").
const ENTRY_64: u64 = 0x200;

/// What a kernel says about itself, or what is assumed of one that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
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

impl Abilities {
    /// Of the kernel with this entry.
    pub fn of(kernel: &Kernel<'_>) -> Self {
        let (image, entry_32bit) = match *kernel {
            Kernel::BzImage { image, entry_32bit } => (image, entry_32bit),
            Kernel::Direct { header: Some(image), .. } => (image, false),
            Kernel::Direct { header: None, .. } => {
                return Self {
                    above_4g: true,
                    initrd_addr_max: u64::MAX,
                    cmdline_size: CMDLINE_SIZE,
                    reads_acpi_rsdp: true,
                    efi_kexec: true,
                };
            }
        };
        let header = &image.header;
        let flags = header.xloadflags;
        let above_4g = flags.contains(XloadFlags::CAN_BE_LOADED_ABOVE_4G) && !entry_32bit;
        Self {
            above_4g,
            initrd_addr_max: if above_4g { u64::MAX } else { header.initrd_addr_max.into() },
            cmdline_size: header.cmdline_size.into(),
            reads_acpi_rsdp: header.version >= 0x020e,
            efi_kexec: flags.contains(XloadFlags::EFI_KEXEC),
        }
    }
}

/// A kernel in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedKernel {
    /// Which entry.
    pub mode: EntryMode,
    /// Physical address of its first instruction.
    pub entry: u64,
    /// Physical address of its first byte.
    pub start: u64,
    /// What purgatory clears: zeroes of the file that are not loaded.
    pub zero: Vec<Span>,
}

/// Finds room for the kernel in `windows` and puts its segments there.
///
/// It goes as low as it may, everything else as high as it may: the kernel ends up where a boot
/// loader would have put it, and what it allocates while it starts is above it.
pub fn place<'a>(
    layout: &mut Layout<'a>,
    request: &Request<'a>,
    windows: &[PhysRange],
) -> Result<PlacedKernel, PlanError> {
    match request.kernel {
        Kernel::BzImage { image, entry_32bit } => {
            place_bzimage(layout, image, entry_32bit, windows)
        }
        Kernel::Direct { header, vmlinux } => {
            place_direct(layout, header, vmlinux, request.target, windows)
        }
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
    let (mode, offset) =
        if entry_32bit { (EntryMode::BzImage32, 0) } else { (EntryMode::BzImage64, ENTRY_64) };
    // `at` has at least a page.
    Ok(PlacedKernel { mode, entry: at.start + offset, start: at.start, zero: Vec::new() })
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
    let above = PhysRange::new(start, u64::MAX);
    windows.iter().filter_map(|window| window.intersection(&above)).collect()
}

fn place_direct<'a>(
    layout: &mut Layout<'a>,
    header: Option<&BzImage<'_>>,
    vmlinux: &'a Vmlinux<'a>,
    target: Target,
    windows: &[PhysRange],
) -> Result<PlacedKernel, PlanError> {
    if vmlinux.machine != EM_X86_64.0 || !vmlinux.is_64 {
        let bits = if vmlinux.is_64 { 64 } else { 32 };
        return Err(PlanError::Machine { e_machine: vmlinux.machine, bits });
    }
    let range = vmlinux.range();
    let has_entry = |load: &Load<'_>| {
        load.range().contains(&PhysRange::new(vmlinux.entry, vmlinux.entry.saturating_add(1)))
    };
    if !vmlinux.loads.iter().any(has_entry) {
        return Err(PlanError::Entry { entry: vmlinux.entry, range });
    }
    let align = match header {
        Some(image) => alignment(image)?,
        None => elf::largest_alignment(vmlinux),
    };
    let align = align.max(LARGE_PAGE);
    let linked = elf::linked(vmlinux, align);
    let windows = match target {
        Target::Crash => windows.to_vec(),
        // Where it is linked to run, as a boot loader would do it, if that is free.
        Target::Reboot => [from(linked.start, windows), windows.to_vec()].concat(),
    };
    let place = elf::Place::find(layout, linked, align, &windows)?;
    let zero = place.put(layout, &vmlinux.loads);
    let entry = place.moved(vmlinux.entry);
    Ok(PlacedKernel { mode: EntryMode::Direct, entry, start: place.start, zero })
}
