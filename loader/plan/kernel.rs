//! The kernel's place: a bzImage as one segment, an ELF kernel as the segments of its PT_LOADs,
//! all moved by one distance.

use alloc::{borrow::Cow, vec::Vec};
use core::ops::Range;

use object::elf::EM_X86_64;
use purgatory::params::Span;

use crate::image::{BzImage, Load, Vmlinux, XloadFlags};
use crate::plan::layout::{Layout, PAGE};
use crate::plan::place::End;
use crate::plan::{EntryMode, Kernel, PlanError, Request, Target, What};
use crate::range::PhysRange;

/// Most segments that a kernel takes.
pub const KERNEL_SEGMENTS_MAX: usize = 4;
/// The kernel's own page tables map it with 2 MiB pages (kernel 6.1 arch/x86/kernel/head64.c,
/// `__startup_64` refuses another alignment).
const LARGE_PAGE: u64 = 2 << 20;
/// No kernel takes more; a larger distance between PT_LOADs is damage.
const SPREAD_MAX: u64 = 4 << 30;
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
        None => largest_alignment(vmlinux),
    };
    let align = align.max(LARGE_PAGE);
    // The kernel moves by a multiple of `align`.
    let linked_start = range.start & !(align - 1);
    let size = range.end - linked_start;
    if size > SPREAD_MAX {
        return Err(PlanError::Spread { range });
    }
    let windows = match target {
        Target::Crash => windows.to_vec(),
        // Where it is linked to run, as a boot loader would do it, if that is free.
        Target::Reboot => [from(linked_start, windows), windows.to_vec()].concat(),
    };
    let at = layout.take(What::Kernel, size, align, End::Bottom, &windows)?;
    // `at` has room for every address of `range`, so none of these sums overflows.
    let moved = |linked: u64| linked - linked_start + at.start;
    let mut zero = Vec::new();
    for group in groups(&vmlinux.loads) {
        let loads = &vmlinux.loads[group];
        let place = pages(loads);
        let (data, trimmed) = content(loads, place.start);
        let place = PhysRange::new(moved(place.start), moved(place.end));
        if trimmed > 0 {
            zero.push(Span { address: place.start + data.len() as u64, length: trimmed });
        }
        layout.put(What::Kernel, data, place);
    }
    let entry = moved(vmlinux.entry);
    Ok(PlacedKernel { mode: EntryMode::Direct, entry, start: at.start, zero })
}

/// The largest alignment among the PT_LOADs that makes sense.
fn largest_alignment(vmlinux: &Vmlinux<'_>) -> u64 {
    let aligns = vmlinux.loads.iter().map(|load| load.p_align);
    aligns.filter(|align| align.is_power_of_two() && *align <= SPREAD_MAX).max().unwrap_or(PAGE)
}

/// Neighbouring PT_LOADs that become one segment: those that share a page, and the nearest ones
/// while there are more than [`KERNEL_SEGMENTS_MAX`] segments.
fn groups(loads: &[Load<'_>]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        let previous = groups.last_mut();
        match previous {
            Some(group) if pages(&loads[group.clone()]).end > load.p_paddr & !(PAGE - 1) => {
                group.end = index + 1;
            }
            Some(_) | None => groups.push(index..index + 1),
        }
    }
    while groups.len() > KERNEL_SEGMENTS_MAX {
        let gap = |at: usize| loads[groups[at].end].p_paddr - pages(&loads[groups[at].clone()]).end;
        let nearest = (0..groups.len() - 1).min_by_key(|&at| gap(at)).unwrap_or(0);
        groups[nearest].end = groups[nearest + 1].end;
        groups.remove(nearest + 1);
    }
    groups
}

/// The whole pages that neighbouring PT_LOADs take, as linked.
fn pages(loads: &[Load<'_>]) -> PhysRange {
    let start = loads.first().map_or(0, |load| load.p_paddr) & !(PAGE - 1);
    let end = loads.last().map_or(0, |load| load.range().end);
    PhysRange::new(start, end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))
}

/// What is loaded from linked address `start` on, without the zeroes at its end, and how many
/// these are.
fn content<'a>(loads: &[Load<'a>], start: u64) -> (Cow<'a, [u8]>, u64) {
    let data = match loads {
        [load] if load.p_paddr == start => Cow::Borrowed(load.data),
        several => Cow::Owned(joined(several, start)),
    };
    let kept = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let trimmed = (data.len() - kept) as u64;
    let data = match data {
        Cow::Borrowed(data) => Cow::Borrowed(&data[..kept]),
        Cow::Owned(mut data) => {
            data.truncate(kept);
            Cow::Owned(data)
        }
    };
    (data, trimmed)
}

/// The bytes of several PT_LOADs with zeroes between them.
fn joined(loads: &[Load<'_>], start: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for load in loads.iter().filter(|load| !load.data.is_empty()) {
        // Bounded by SPREAD_MAX, and on a 32-bit host by what can be mapped of the file.
        let offset = usize::try_from(load.p_paddr - start).unwrap_or(usize::MAX);
        bytes.resize(offset, 0);
        bytes.extend_from_slice(load.data);
    }
    bytes
}
