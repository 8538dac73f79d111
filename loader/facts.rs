//! What planning must know about the machine. Plain data: [`machine`](crate::machine) reads it
//! from /proc and /sys (or from a captured copy of them), tests write it by hand, and the plan
//! depends on nothing else.

pub mod ppc64;

use alloc::{string::String, vec::Vec};
use core::fmt;

use crate::range::PhysRange;

/// Machine architectures the loader knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86
    X86_64,
    /// 32-bit x86
    I386,
    /// 64-bit POWER, little-endian
    Ppc64le,
    /// 64-bit POWER, big-endian
    Ppc64,
}

impl Arch {
    /// The name in options, messages and folders.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::Ppc64le => "ppc64le",
            Self::Ppc64 => "ppc64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a range of the firmware's memory map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Usable RAM (E820 type 1).
    Ram,
    /// Reserved by the firmware (2), and every kind that is not known.
    Reserved,
    /// ACPI tables, reclaimable (3).
    AcpiTables,
    /// ACPI non-volatile storage (4).
    AcpiNvs,
    /// Unusable memory (5).
    Unusable,
    /// Persistent memory (7).
    Persistent,
    /// Persistent memory, old non-standard type (12).
    PersistentLegacy,
    /// Specific purpose ("soft reserved", 0xefffffff).
    SoftReserved,
}

/// One entry of a memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Where it is.
    pub range: PhysRange,
    /// What it is for.
    pub kind: MemoryKind,
}

/// ELF notes that the kernel keeps ready in memory: a CPU's registers, or vmcoreinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Physical address.
    pub address: u64,
    /// Room reserved there, in bytes.
    pub size: u64,
}

/// Where the running kernel's text is, for the core's PT_LOAD that maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelText {
    /// Virtual address of `_text` rounded down to a page.
    pub virt: u64,
    /// Physical range of the image ("Kernel code" to "Kernel bss" of /proc/iomem).
    pub phys: PhysRange,
}

/// One EFI runtime mapping: an `efi_memory_desc_t` (/sys/firmware/efi/runtime-map/N).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EfiMapping {
    /// EFI memory type.
    pub kind: u32,
    /// Physical address.
    pub phys: u64,
    /// Virtual address the running kernel gave it.
    pub virt: u64,
    /// Length in 4 KiB pages.
    pub pages: u64,
    /// EFI attribute bits.
    pub attribute: u64,
}

/// What a kernel started by kexec must be told to use EFI runtime services again
/// (kernel 6.1 arch/x86/platform/efi/quirks.c, `efi_setup_data`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Efi {
    /// Physical address of the firmware vendor string.
    pub fw_vendor: u64,
    /// Physical address of the runtime services table, 0 if the kernel does not tell it.
    pub runtime: u64,
    /// Physical address of the configuration tables.
    pub config_table: u64,
    /// Physical address of the SMBIOS entry point, 0 if there is none.
    pub smbios: u64,
    /// The runtime mappings.
    pub runtime_map: Vec<EfiMapping>,
}

/// Reasons for which the decompressor in a bzImage must run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The running kernel uses 5-level page tables, and kexec keeps them on.
    pub la57: bool,
    /// AMD memory encryption (SME or SEV) is active.
    pub amd_memory_encryption: bool,
    /// Intel TDX guest.
    pub tdx_guest: bool,
}

/// The machine as the loader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Architecture of the running kernel.
    pub arch: Arch,
    /// CPU features that constrain the entry.
    pub cpu: Cpu,
    /// The firmware's memory map (/sys/firmware/memmap; else /proc/iomem), sorted by address.
    pub firmware_map: Vec<MemoryRange>,
    /// RAM as the running kernel sees it ("System RAM" of /proc/iomem, at any depth, without a
    /// GART aperture), sorted and disjoint: what a dump contains.
    pub system_ram: Vec<PhysRange>,
    /// Ranges of /proc/iomem that are a kind of memory, by address: what a crash kernel's e820 is
    /// made from. Hot-plugged RAM lies within the `Persistent` or `SoftReserved` range it is from.
    pub iomem: Vec<MemoryRange>,
    /// "Crash kernel" ranges of /proc/iomem (a low one and a high one, or none).
    pub crash_ranges: Vec<PhysRange>,
    /// /sys/kernel/kexec/crash_cma_ranges (kernel 6.19): usable by the capture kernel, not dumped.
    pub crash_cma_ranges: Vec<PhysRange>,
    /// Notes of every CPU that the kernel knows, on line or not, in order of CPU number.
    pub cpu_notes: Vec<Note>,
    /// The vmcoreinfo note.
    pub vmcoreinfo: Option<Note>,
    /// Running kernel's text; unknown if neither kcore nor kallsyms could be read.
    pub kernel_text: Option<KernelText>,
    /// Virtual address at which the linear map shows physical address 0 (`PAGE_OFFSET`, randomized
    /// by KASLR); unknown if /proc/kcore cannot be read.
    pub page_offset: Option<u64>,
    /// The running kernel's own `boot_params` (/sys/kernel/boot_params/data, 4096 bytes):
    /// source of screen_info, efi_info, EDD.
    pub boot_params: Option<Vec<u8>>,
    /// EFI, when the machine was started by it.
    pub efi: Option<Efi>,
    /// Physical address of the ACPI RSDP, if known.
    pub acpi_rsdp: Option<u64>,
    /// Running kernel's command line (/proc/cmdline), without the final newline.
    pub command_line: String,
    /// Size the kernel wants for `elfcorehdr` when it will update it itself on hotplug
    /// (/sys/kernel/kexec/crash_elfcorehdr_size or /sys/kernel/crash_elfcorehdr_size).
    pub crash_elfcorehdr_size: Option<u64>,
}
