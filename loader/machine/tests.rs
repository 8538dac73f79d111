//! The whole of [`read_facts`] on captured machines (tests/fixtures).

use std::path::Path;

use super::*;
use crate::{
    facts::{
        Note, X86,
        ppc64::Terminal,
        x86::{Cpu, MemoryKind},
    },
    plan::Target,
};

fn fixture(name: &str) -> Sysroot {
    Sysroot::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

fn bios() -> Sysroot {
    fixture("sysroot-x86_64-debian-6.1")
}

fn x86(facts: &Facts) -> &X86 {
    match &facts.platform {
        Platform::X86(x86) => x86,
        Platform::Ppc64(_) => panic!("a PC was captured"),
    }
}

fn uefi() -> Sysroot {
    fixture("sysroot-x86_64-debian-6.1-uefi")
}

#[test]
fn a_bios_machine() {
    let facts = read_facts(&bios(), Arch::X86_64).unwrap();

    assert_eq!(facts.command_line, "console=ttyS0 crashkernel=256M");
    assert_eq!(x86(&facts).cpu, Cpu::default());
    let ram: Vec<_> = x86(&facts)
        .firmware_map
        .iter()
        .filter(|entry| entry.kind == MemoryKind::Ram)
        .map(|entry| entry.range)
        .collect();
    assert_eq!(ram, [PhysRange::new(0, 0x9_fc00), PhysRange::new(0x10_0000, 0x3ffe_0000)]);
    assert_eq!(facts.crash_ranges, [PhysRange::new(0x2f00_0000, 0x3f00_0000)]);
    assert_eq!(facts.crash_cma_ranges, []);

    assert_eq!(
        facts.cpu_notes,
        [Note { address: 0x3fa3_a400, size: 368 }, Note { address: 0x3fb3_a400, size: 368 }]
    );
    assert_eq!(facts.vmcoreinfo.unwrap().size, 0x1024);
    let text = facts.kernel_text.unwrap();
    assert_eq!(Some(text.virt), kallsyms::read_text(&bios()).unwrap(), "kcore and kallsyms agree");
    assert_eq!(text.phys.len(), 0x343_0000, "with the early allocations behind the BSS");

    assert_eq!(x86(&facts).efi, None);
    assert_eq!(x86(&facts).acpi_rsdp, Some(0xf_5250), "QEMU's, below 1 MiB");
    let boot_params = x86(&facts).boot_params.as_ref().unwrap();
    assert_eq!((boot_params.len(), &boot_params[0x202..0x206]), (4096, b"HdrS".as_slice()));
    assert_eq!(facts.crash_elfcorehdr_size, None, "a kernel before 6.5");
}

#[test]
fn a_uefi_machine_with_5_level_paging() {
    let facts = read_facts(&uefi(), Arch::X86_64).unwrap();

    assert!(x86(&facts).cpu.la57);
    let efi = x86(&facts).efi.as_ref().unwrap();
    assert_eq!((efi.fw_vendor, efi.config_table), (0x3f52_aa18, 0x3f5e_bc98));
    assert_eq!(efi.smbios, 0x3f52_0000);
    assert_eq!(x86(&facts).acpi_rsdp, Some(0x3f77_d014), "ACPI 2.0's");
    assert_eq!(efi.runtime_map.len(), 8);
    let flash = &efi.runtime_map[0];
    assert_eq!((flash.kind, flash.phys, flash.pages), (11, 0xffc0_0000, 0x400));
    assert_eq!((flash.virt, flash.attribute), (0xffff_fffe_ffc0_0000, 0x8000_0000_0000_0001));
    assert!(x86(&facts).iomem.iter().any(|entry| entry.kind == MemoryKind::AcpiNvs));
    assert!(x86(&facts).firmware_map.is_sorted_by_key(|entry| entry.range));
}

#[test]
fn a_32_bit_machine_with_6_gib() {
    let facts = read_facts(&fixture("sysroot-i386-debian-6.1-pae"), Arch::I386).unwrap();

    assert_eq!(facts.page_offset, Some(0xc000_0000));
    assert_eq!(facts.linear_map_end, Some(0x36ff_e000));
    assert_eq!(facts.kernel_text, None, "it is a part of the linear map");
    assert_eq!(
        facts.system_ram,
        [
            PhysRange::new(0x1000, 0x9_fc00),
            PhysRange::new(0x10_0000, 0xbffe_0000),
            PhysRange::new(0x1_0000_0000, 0x1_c000_0000),
        ]
    );
    assert_eq!(facts.crash_ranges, [PhysRange::new(0x0d00_0000, 0x1d00_0000)]);
    assert_eq!(facts.cpu_notes.len(), 2);
    assert_eq!(x86(&facts).cpu, Cpu::default());
    assert!(x86(&facts).boot_params.is_some());
}

#[test]
fn a_pseries_machine() {
    let facts = read_facts(&fixture("sysroot-ppc64le-debian-6.1"), Arch::Ppc64le).unwrap();

    assert_eq!(facts.system_ram, [PhysRange::new(0, 0x8000_0000)]);
    assert_eq!(facts.crash_ranges, [PhysRange::new(0x2000_0000, 0x3000_0000)]);
    assert_eq!(facts.page_offset, Some(0xc000_0000_0000_0000));
    assert_eq!(facts.cpu_notes.len(), 2);
    let Platform::Ppc64(machine) = &facts.platform else { panic!("a ppc64 machine was captured") };
    assert_eq!(machine.rma, PhysRange::new(0, 0x8000_0000));
    assert_eq!(machine.kernel.end, 0x288_0000);
    let rtas = machine.rtas.unwrap();
    assert_eq!((rtas.range.start, rtas.range.len()), (0x2fff_0000, 0x83c));
    assert_eq!((rtas.entry, rtas.system_reboot), (0x2fff_0000, Some(0x2004)));
    assert_eq!(machine.terminal, Some(Terminal::Hypervisor(0x7100_0000)));
    // A kernel on a hypervisor has no hash table of its own, and radix translation has none.
    assert_eq!((machine.hash_table, machine.opal), (None, None));
    let long = machine.tree.node("/rtas").unwrap();
    assert!(long.property("ibm,associativity-reference-points").is_some());
}

#[test]
fn plugged_in_memory_is_in_logical_memory_blocks() {
    let root = fixture("sysroot-ppc64le-debian-6.1-drconf");
    let facts = read_facts(&root, Arch::Ppc64le).unwrap();
    // 2 GiB in a memory node; of 512 MiB each block is assigned, of the rest none.
    assert_eq!(facts.system_ram, [PhysRange::new(0, 0xa000_0000)]);
    let Platform::Ppc64(machine) = &facts.platform else { panic!("a ppc64 machine was captured") };
    assert_eq!(machine.rma, PhysRange::new(0, 0x8000_0000));
}

#[test]
fn old_names_tell_the_state_of_kexec() {
    assert_eq!(status::loaded(&bios(), Target::Reboot).unwrap(), Some(false));
    assert_eq!(status::loaded(&bios(), Target::Crash).unwrap(), Some(false));
    assert_eq!(status::crash_size(&bios()).unwrap(), Some(256 << 20));
    assert_eq!(policy::lockdown(&bios()).unwrap(), Some(policy::Lockdown::None));
    assert_eq!(policy::kexec_load_disabled(&bios()).unwrap(), Some(false));
    assert_eq!(policy::load_limit(&bios(), Target::Crash).unwrap(), None);
    assert_eq!(policy::secure_boot(&uefi()).unwrap(), Some(false), "boot_params say so");
    assert_eq!(policy::secure_boot(&bios()).unwrap(), None);
}

#[test]
fn a_directory_without_proc_is_an_error_that_names_the_file() {
    let nowhere = Sysroot::at(Path::new("/nonexistent"));
    let error = read_facts(&nowhere, Arch::X86_64).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read /nonexistent/proc/cmdline (is /proc or /sys mounted?)"
    );
    assert_eq!(status::loaded(&nowhere, Target::Crash).unwrap(), None);
}
