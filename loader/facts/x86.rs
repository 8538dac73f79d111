//! What only x86 machines have: the firmware's memory map, boot_params, EFI, ACPI.

use alloc::vec::Vec;

use crate::range::PhysRange;

/// A PC as the loader sees it, 32-bit or 64-bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X86 {
    /// CPU features that constrain the entry.
    pub cpu: Cpu,
    /// The firmware's memory map (/sys/firmware/memmap; else /proc/iomem), sorted by address.
    pub firmware_map: Vec<MemoryRange>,
    /// Ranges of /proc/iomem that are a kind of memory, by address: what a crash kernel's e820 is
    /// made from. Hot-plugged RAM lies within the `Persistent` or `SoftReserved` range it is from.
    pub iomem: Vec<MemoryRange>,
    /// The running kernel's own `boot_params` (/sys/kernel/boot_params/data, 4096 bytes):
    /// source of screen_info, efi_info, EDD.
    pub boot_params: Option<Vec<u8>>,
    /// EFI, when the machine was started by it.
    pub efi: Option<Efi>,
    /// Physical address of the ACPI RSDP, if known.
    pub acpi_rsdp: Option<u64>,
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
