//! The kernel's image: an ELF vmlinux of either byte order, linked to run at physical address 0.

use object::elf::EM_PPC64;
use object::endian::Endianness;
use purgatory::params::Span;

use crate::image::Vmlinux;
use crate::plan::elf::{self, Place};
use crate::plan::layout::Layout;
use crate::plan::place::End;
use crate::plan::ppc64::PAGE;
use crate::plan::{Kernel, PlanError, Target};
use crate::range::PhysRange;

/// What of the kernel's start comes to address 0 for the secondary CPUs to wait in.
pub const TRAMPOLINE: usize = 0x100;
/// Offset in it of the word `__run_at_load`.
const RUN_AT_LOAD: usize = 0x5c;
/// The value with which a relocatable kernel moves itself to address 0; with 1 it stays where it
/// is (kernel 6.1 arch/powerpc/kernel/head_64.S).
const MOVE_TO_ZERO: u32 = 0x7275_6e30; // "run0"

/// What the plan needs to know about it.
#[derive(Clone, Copy, Debug)]
pub struct KernelImage<'a> {
    vmlinux: &'a Vmlinux<'a>,
    /// Its first bytes, with `run_at_load` set for the target.
    pub trampoline: [u8; TRAMPOLINE],
    /// Physical address of its entry, as linked.
    entry: u64,
}

/// A kernel in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedKernel {
    /// Physical address of its first instruction.
    pub entry: u64,
    /// Physical address of its first byte.
    pub start: u64,
    /// What purgatory clears: zeroes of the file that are not loaded.
    pub zero: alloc::vec::Vec<Span>,
}

impl<'a> KernelImage<'a> {
    /// Checks a kernel for this target on a machine whose running kernel has byte order `endian`.
    pub fn of(kernel: &Kernel<'a>, target: Target, endian: Endianness) -> Result<Self, PlanError> {
        let vmlinux = match *kernel {
            Kernel::Direct { header: None, vmlinux } => vmlinux,
            Kernel::Direct { header: Some(_), .. }
            | Kernel::BzImage { .. }
            | Kernel::Program(_) => {
                return Err(PlanError::OtherImage);
            }
        };
        if vmlinux.machine != EM_PPC64.0 || !vmlinux.is_64 {
            let bits = if vmlinux.is_64 { 64 } else { 32 };
            let e_machine = vmlinux.machine;
            return Err(PlanError::Machine { e_machine, bits, wanted: "ppc64 (21, 64 bits)" });
        }
        // It reads the dead kernel's notes as if they were its own (kernel 6.1 fs/proc/vmcore.c).
        let is_other = vmlinux.is_little_endian != (endian == Endianness::Little);
        if target == Target::Crash && is_other {
            return Err(PlanError::ByteOrder { running: endian });
        }
        let trampoline = trampoline(vmlinux, target)?;
        let entry = vmlinux
            .entry_by_p_vaddr()
            .ok_or(PlanError::Entry { entry: vmlinux.entry, range: vmlinux.range() })?;
        Ok(Self { vmlinux, trampoline, entry })
    }

    /// Bytes from its first to its last, with what is not in the file.
    pub fn size(&self) -> u64 {
        elf::linked(self.vmlinux, PAGE).len().next_multiple_of(PAGE)
    }

    /// Finds room for it and puts its segments there.
    pub fn place(
        &self,
        layout: &mut Layout<'a>,
        windows: &[PhysRange],
    ) -> Result<PlacedKernel, PlanError> {
        let linked = elf::linked(self.vmlinux, PAGE);
        let place = Place::find(layout, linked, PAGE, End::Bottom, windows)?;
        let zero = place.put(layout, self.vmlinux.loads.clone());
        Ok(PlacedKernel { entry: place.moved(self.entry), start: place.start, zero })
    }
}

/// The kernel's first bytes. A crash kernel must stay where it is loaded, which not every kernel
/// can (CONFIG_RELOCATABLE).
fn trampoline(vmlinux: &Vmlinux<'_>, target: Target) -> Result<[u8; TRAMPOLINE], PlanError> {
    let first = vmlinux.loads.first().and_then(|load| load.data.first_chunk());
    let mut bytes: [u8; TRAMPOLINE] = *first.ok_or(PlanError::NoTrampoline)?;
    let words: [fn(u32) -> [u8; 4]; 2] = [u32::to_be_bytes, u32::to_le_bytes];
    let word = words[usize::from(vmlinux.is_little_endian)];
    let run_at_load = &mut bytes[RUN_AT_LOAD..RUN_AT_LOAD + 4];
    if target == Target::Crash {
        if run_at_load != word(MOVE_TO_ZERO) {
            return Err(PlanError::NoRunAtLoad);
        }
        run_at_load.copy_from_slice(&word(1));
    }
    Ok(bytes)
}
