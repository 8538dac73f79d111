//! Kinds of memory by the names that the kernel gives them in /proc/iomem and /sys/firmware/memmap.

use crate::{
    facts::x86::{MemoryKind, MemoryRange},
    machine::iomem::Iomem,
};

/// The ranges of /proc/iomem whose name is a kind of memory, by address; they may nest.
pub fn of_iomem(iomem: &Iomem) -> Vec<MemoryRange> {
    let ranges = iomem.resources().iter().filter_map(|resource| {
        Some(MemoryRange { range: resource.range, kind: kind(&resource.name)? })
    });
    let mut memory: Vec<_> = ranges.collect();
    memory.sort_by_key(|memory| memory.range);
    memory
}

/// The kind of memory that a name of /proc/iomem or of a firmware map's `type` stands for
/// (kernel 6.1 arch/x86/kernel/e820.c; kernels before 4.9 write "reserved").
pub fn kind(name: &str) -> Option<MemoryKind> {
    Some(match name {
        "Reserved" | "reserved" => MemoryKind::Reserved,
        "ACPI Tables" => MemoryKind::AcpiTables,
        "ACPI Non-volatile Storage" => MemoryKind::AcpiNvs,
        "Unusable memory" => MemoryKind::Unusable,
        "Persistent Memory" => MemoryKind::Persistent,
        "Persistent Memory (legacy)" => MemoryKind::PersistentLegacy,
        "Soft Reserved" => MemoryKind::SoftReserved,
        ram if ram.starts_with("System RAM") => MemoryKind::Ram,
        _device => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_plugged_ram_is_listed_with_the_device_that_brings_it() {
        let iomem = Iomem::parse(
            "00001000-0009fbff : System RAM\n\
             000a0000-000bffff : PCI Bus 0000:00\n\
             100000000-17fffffff : Persistent Memory\n\
             \x20 100000000-17fffffff : dax0.0\n\
             \x20   100000000-17fffffff : System RAM (kmem)\n",
        );
        let memory = of_iomem(&iomem.unwrap());
        let kinds: Vec<_> = memory.iter().map(|memory| memory.kind).collect();
        assert_eq!(kinds, [MemoryKind::Ram, MemoryKind::Persistent, MemoryKind::Ram]);
    }
}
