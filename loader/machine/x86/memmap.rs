//! /sys/firmware/memmap: the memory map that the firmware gave the first kernel
//! (kernel 6.1 Documentation/ABI/testing/sysfs-firmware-memmap).

use super::memory;
use crate::{
    facts::x86::{MemoryKind, MemoryRange},
    machine::{MachineError, Sysroot, parse::hexadecimal_file},
    range::PhysRange,
};

const MEMMAP: &str = "sys/firmware/memmap";

/// The map, by address; empty if the kernel does not export it.
pub fn read(root: &Sysroot) -> Result<Vec<MemoryRange>, MachineError> {
    let mut map = Vec::new();
    for number in root.numbered(MEMMAP, "")? {
        let file = |name| format!("{MEMMAP}/{number}/{name}");
        let start = root.required(&file("start"), hexadecimal_file)?;
        let last = root.required(&file("end"), hexadecimal_file)?;
        let kind = root.required(&file("type"), |text| Ok(kind(text)))?;
        map.push(MemoryRange { range: PhysRange::inclusive(start, last), kind });
    }
    map.sort_by_key(|entry| entry.range);
    Ok(map)
}

/// A kind without a name of its own is not for use.
fn kind(text: &str) -> MemoryKind {
    memory::kind(text.trim_end()).unwrap_or(MemoryKind::Reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_the_names_of_e820() {
        assert_eq!(kind("System RAM\n"), MemoryKind::Ram);
        assert_eq!(kind("ACPI Non-volatile Storage\n"), MemoryKind::AcpiNvs);
        assert_eq!(kind("Persistent Memory (legacy)\n"), MemoryKind::PersistentLegacy);
        assert_eq!(kind("Unknown E820 type\n"), MemoryKind::Reserved);
    }
}
