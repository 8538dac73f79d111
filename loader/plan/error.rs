//! Why there is no plan.

use object::endian::Endianness;

use crate::elfcore::ElfcoreError;
use crate::facts::ppc64::lmb::LmbError;
use crate::fdt;
use crate::image::RelocationsError;
use crate::plan::{What, place};
use crate::range::PhysRange;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The running kernel reserved no memory for a crash kernel.
    #[error(
        "no memory is reserved for a crash kernel: boot with crashkernel=256M (or another size) \
         on the kernel command line"
    )]
    NoCrashMemory,
    /// No RAM is known, or none between --mem-min and --mem-max.
    #[error("no usable RAM in {window}")]
    NoMemory {
        /// Where it was looked for.
        window: PhysRange,
    },
    /// Something does not fit.
    #[error("{what} does not fit: {shortage}")]
    NoRoom {
        /// What.
        what: What,
        /// What it needs and what there is.
        shortage: Shortage,
    },
    /// The only reserved memory is where this kernel cannot be.
    #[error(
        "the crash kernel's memory {reserved} is above 4 GiB, where this kernel cannot be entered \
         this way; {hint}"
    )]
    Above4G {
        /// The reserved memory.
        reserved: PhysRange,
        /// What would help.
        hint: Above4GHint,
    },
    /// The only reserved memory is where a 32-bit kernel cannot be.
    #[error(
        "the crash kernel's memory {reserved} is above {end:#x}, where the low memory of a 32-bit \
         kernel ends; reserve memory below with crashkernel=SIZE@OFFSET"
    )]
    AboveLowMemory {
        /// The reserved memory.
        reserved: PhysRange,
        /// First address that is too high.
        end: u64,
    },
    /// A 32-bit kernel without relocation table cannot be where it is linked.
    #[error(
        "this 32-bit kernel has no relocation table: it must be at {range}, where no memory is free \
         for it; use the bzImage, or reserve memory there with crashkernel=SIZE@OFFSET"
    )]
    NoRelocationTable {
        /// Where it is linked.
        range: PhysRange,
    },
    /// The kernel's own limit.
    #[error(
        "the command line has {length} bytes with what kexec adds; this kernel takes at most \
         {limit}: shorten it by {}", length - limit
    )]
    CommandLineTooLong {
        /// Length without the final NUL.
        length: u64,
        /// Most that the kernel takes.
        limit: u64,
    },
    /// A NUL in the command line.
    #[error("the command line has a NUL byte at {offset}: the kernel would not see what follows")]
    CommandLineNul {
        /// Where.
        offset: usize,
    },
    /// A kernel that knows nothing of a dead one.
    #[error(
        "only Linux can be the kernel for a panic: {protocol} tells a kernel nothing about the dead \
         one; for an ELF vmlinux of Linux give --args-linux"
    )]
    NotForCrash {
        /// How the kernel would be started.
        protocol: &'static str,
    },
    /// An initrd for a kernel that has no place for it.
    #[error(
        "{protocol} has no place for an initrd: for a Multiboot kernel give it with \
         --module, for an ELF vmlinux of Linux give --args-linux"
    )]
    NoPlaceForInitrd {
        /// How the kernel is started.
        protocol: &'static str,
    },
    /// An empty initrd.
    #[error("the initrd is empty")]
    EmptyInitrd,
    /// `--reuseinitrd` without one.
    #[error("the running kernel was started without an initrd: there is none to reuse")]
    NoInitrdToReuse,
    /// `--reuseinitrd` for a crash kernel.
    #[error(
        "a crash kernel cannot reuse the running kernel's initrd: it may use only the memory that \
         is reserved for it"
    )]
    InitrdNotReserved,
    /// A bzImage or Multiboot kernel where another file is needed.
    #[error("the kernel's file is one for x86; an ELF vmlinux for 64-bit POWER is needed")]
    OtherImage,
    /// The reserved memory cannot be reached in real mode.
    #[error(
        "the crash kernel's memory {reserved} is outside of the real mode area {rma}, where the \
         crash kernel starts: reserve memory there with crashkernel=SIZE@OFFSET"
    )]
    NotInRma {
        /// The reserved memory.
        reserved: PhysRange,
        /// The real mode area.
        rma: PhysRange,
    },
    /// A crash kernel that could not read what the dead one leaves.
    #[error(
        "the crash kernel has another byte order than the running kernel, which is {}: it could not \
         read the dead kernel's notes, and there would be no dump; use a kernel of the same byte \
         order", if *running == Endianness::Little { "little-endian" } else { "big-endian" }
    )]
    ByteOrder {
        /// The running kernel's.
        running: Endianness,
    },
    /// A crash kernel would not find its memory.
    #[error(
        "the device tree has no memory at {missing}, which is reserved for the crash kernel: is the \
         one of --dtb for this machine?"
    )]
    NotInTree {
        /// What of the reserved memory is missing.
        missing: PhysRange,
    },
    /// A kernel for ppc64 that does not begin as one.
    #[error("the ELF kernel's first PT_LOAD has less than 256 bytes: it is no kernel")]
    NoTrampoline,
    /// A crash kernel that would move to where the dead kernel is.
    #[error(
        "the kernel is not relocatable (no \"run0\" at its offset 0x5c): a crash kernel must be \
         built with CONFIG_RELOCATABLE"
    )]
    NoRunAtLoad,
    /// The device tree.
    #[error(transparent)]
    DeviceTree(#[from] fdt::ValueError),
    /// Logical memory blocks in the device tree.
    #[error(transparent)]
    Lmb(#[from] LmbError),
    /// The new device tree.
    #[error(transparent)]
    Flatten(#[from] fdt::WriteError),
    /// The setup header contradicts itself.
    #[error("the bzImage's header is damaged: {field} is {value:#x}")]
    SetupHeader {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The ELF kernel is another machine's.
    #[error(
        "the ELF kernel is for e_machine {e_machine}, {bits} bits; here kernels are started for \
         {wanted}"
    )]
    Machine {
        /// `e_machine`
        e_machine: u16,
        /// 32 or 64.
        bits: u8,
        /// What could be.
        wanted: &'static str,
    },
    /// The ELF kernel's entry is not in it.
    #[error(
        "the ELF kernel's e_entry {entry:#x} is in none of its PT_LOADs ({range}), whose addresses \
         are physical on x86 and virtual on POWER"
    )]
    Entry {
        /// `e_entry`
        entry: u64,
        /// From the first to the last PT_LOAD.
        range: PhysRange,
    },
    /// The ELF kernel is spread over more memory than can be reserved for it.
    #[error("the ELF kernel takes {range}: too far apart to be a kernel")]
    Spread {
        /// From the first to the last PT_LOAD.
        range: PhysRange,
    },
    /// `--entry-32bit` without an entry there.
    #[error("the bzImage has no 64-bit entry; use --entry-32bit")]
    No64BitEntry,
    /// The relocation table in a bzImage's payload.
    #[error(transparent)]
    Relocations(#[from] RelocationsError),
    /// Purgatory's image.
    #[error(transparent)]
    Purgatory(#[from] linker::Error),
    /// The ELF core headers.
    #[error(transparent)]
    Elfcore(#[from] ElfcoreError),
}

/// What would help a kernel that cannot be above 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Above4GHint {
    /// It cannot at all.
    #[error("reserve memory below with crashkernel=SIZE@OFFSET or crashkernel=SIZE without ,high")]
    ReserveBelow,
    /// Its 32-bit entry cannot.
    #[error("leave out --entry-32bit, or reserve memory below 4 GiB")]
    Not32Bit,
}

/// A piece that does not fit in the memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it needs {} bytes ({:#x}) aligned to {:#x} in {}, where the largest free piece has {}: {} \
     bytes are missing", wanted.size, wanted.size, wanted.align, wanted.window, largest,
     wanted.size.saturating_sub(*largest)
)]
pub struct Shortage {
    /// What was looked for.
    pub wanted: place::Wanted,
    /// Bytes in the largest piece that is aligned and in the window.
    pub largest: u64,
}
