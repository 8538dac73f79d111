//! What only x86 machines tell: the firmware's memory map, boot_params, EFI, ACPI, CPU features.

mod acpi;
mod cpu;
mod efi;
mod memmap;
mod memory;

use super::{MachineError, Sysroot, iomem::Iomem};
use crate::facts::{
    X86,
    x86::{MemoryKind, MemoryRange},
};

/// Reads it. `vmcoreinfo` is the note's text, if kcore could be read.
pub(super) fn read(
    root: &Sysroot,
    iomem: &Iomem,
    command_line: &str,
    vmcoreinfo: Option<&str>,
) -> Result<X86, MachineError> {
    let boot_params = root.read("sys/kernel/boot_params/data")?;
    Ok(X86 {
        cpu: cpu::cpu(&root.required_text("proc/cpuinfo")?, command_line, vmcoreinfo),
        firmware_map: firmware_map(root, iomem)?,
        iomem: memory::of_iomem(iomem),
        efi: efi::read(root)?,
        acpi_rsdp: acpi::rsdp(efi::system_table(root)?, command_line, boot_params.as_deref()),
        boot_params,
    })
}

/// The firmware's own map; where the kernel does not export it (CONFIG_FIRMWARE_MEMMAP), what
/// /proc/iomem has left of it.
fn firmware_map(root: &Sysroot, iomem: &Iomem) -> Result<Vec<MemoryRange>, MachineError> {
    let map = memmap::read(root)?;
    let has_ram = map.iter().any(|entry| entry.kind == MemoryKind::Ram);
    Ok(if has_ram { map } else { memory::of_iomem(iomem) })
}
