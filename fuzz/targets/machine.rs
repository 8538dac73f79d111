//! /proc and /sys of a PC: iomem, memmap, kcore, kallsyms, vmcoreinfo, EFI, ACPI, boot_params. RAM
//! is in order, no part of it twice.
#![no_main]

use fuzz::tree;
use libfuzzer_sys::fuzz_target;
use purgatorio::facts::Arch;
use purgatorio::machine::{Sysroot, policy, read_facts, status};

const FILES: &[&str] = &[
    "proc/cmdline",
    "proc/cpuinfo",
    "proc/iomem",
    "proc/kallsyms",
    "proc/kcore",
    "sys/devices/system/cpu/cpu0/crash_notes",
    "sys/devices/system/cpu/cpu0/crash_notes_size",
    "sys/firmware/efi/config_table",
    "sys/firmware/efi/fw_vendor",
    "sys/firmware/efi/runtime",
    "sys/firmware/efi/runtime-map/0/attribute",
    "sys/firmware/efi/runtime-map/0/num_pages",
    "sys/firmware/efi/runtime-map/0/phys_addr",
    "sys/firmware/efi/runtime-map/0/type",
    "sys/firmware/efi/runtime-map/0/virt_addr",
    "sys/firmware/efi/systab",
    "sys/firmware/memmap/0/end",
    "sys/firmware/memmap/0/start",
    "sys/firmware/memmap/0/type",
    "sys/kernel/boot_params/data",
    "sys/kernel/kexec/crash_cma_ranges",
    "sys/kernel/kexec/crash_elfcorehdr_size",
    "sys/kernel/security/lockdown",
    "sys/kernel/vmcoreinfo",
];

fuzz_target!(|input: &[u8]| {
    let root = Sysroot::at(tree::folder(input, FILES));
    for arch in [Arch::X86_64, Arch::I386] {
        if let Ok(facts) = read_facts(&root, arch) {
            for pair in facts.system_ram.windows(2) {
                assert!(pair[0].end <= pair[1].start);
            }
        }
    }
    let _ = policy::lockdown(&root);
    let _ = status::crash_size(&root);
});
