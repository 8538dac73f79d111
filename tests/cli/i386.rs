//! Plans with 32-bit kernels, for captured machines of both kinds.

use crate::{
    kernels,
    plan::{dry_run_on, segments},
    program::debian_sysroot,
};

/// The end of what a 32-bit kernel maps for good.
const LOW_MEMORY: u64 = 0x3600_0000;

#[test]
fn a_64_bit_machine_enters_a_32_bit_capture_kernel_directly() {
    let options = ["--arch=x86_64", "-p", "--format=json"];
    let plan = dry_run_on(&debian_sysroot(), &kernels::bzimage_i386(), &options).json();
    assert_eq!(plan["entry_mode"], "direct");
    let kernels: Vec<_> =
        segments(&plan).into_iter().filter(|(what, ..)| what == "kernel").collect();
    assert_eq!(kernels.len(), 2, "{plan}");
    for (_, start, end) in kernels {
        assert!(start.is_multiple_of(0x20_0000) && end <= LOW_MEMORY, "{plan}");
    }
}

#[test]
fn the_decompressor_of_a_32_bit_kernel_is_entered_in_32_bits() {
    let options = ["--arch=x86_64", "-p", "--entry-mode=bzimage", "--format=json"];
    let plan = dry_run_on(&debian_sysroot(), &kernels::bzimage_i386(), &options).json();
    assert_eq!(plan["entry_mode"], "bzimage32");
}

#[test]
fn a_damaged_relocation_table_leaves_the_decompressor() {
    let mut kernel = kernels::vmlinux_i386();
    kernel.extend(b"no table");
    let bzimage = kernels::bzimage_of(&kernel, 0x04, 0x100_0000);
    let plan =
        dry_run_on(&debian_sysroot(), &bzimage, &["--arch=x86_64", "-p", "--format=json"]).json();
    assert_eq!(plan["entry_mode"], "bzimage32");
    let reason = plan["entry_reason"].as_str().unwrap();
    assert!(reason.contains("not the relocation table"), "{reason}");
    let direct = ["--arch=x86_64", "-p", "--entry-mode=direct"];
    dry_run_on(&debian_sysroot(), &bzimage, &direct)
        .assert_fails(255, &["not the relocation table"]);
}

#[cfg(feature = "every-arch")]
mod on_i386 {
    use super::*;
    use crate::program::fixture;

    const MACHINE: &str = "sysroot-i386-debian-6.1";
    /// The same with 6 GiB of memory.
    const PAE: &str = "sysroot-i386-debian-6.1-pae";

    #[test]
    fn both_machines_get_a_plan_in_their_reserved_memory() {
        let regions = [(MACHINE, 0x1000_0000, 0x2000_0000), (PAE, 0x0d00_0000, 0x1d00_0000)];
        for (machine, region_start, region_end) in regions {
            let options = ["--arch=i386", "-p", "--format=json"];
            let plan = dry_run_on(&fixture(machine), &kernels::bzimage_i386(), &options).json();
            assert_eq!(plan["entry_mode"], "direct");
            for (what, start, end) in segments(&plan) {
                let inside = region_start <= start && end <= region_end;
                assert!(inside, "{what} at {start:#x}-{end:#x}");
            }
        }
    }

    #[test]
    fn elf_32_core_headers_end_at_4_gib() {
        let elf32 = ["--arch=i386", "-p", "--elf32-core-headers"];
        let bzimage = kernels::bzimage_i386();
        dry_run_on(&fixture(MACHINE), &bzimage, &elf32).assert_succeeds();
        dry_run_on(&fixture(PAE), &bzimage, &elf32)
            .assert_fails(255, &["0x100000000-0x1bfffffff", "use ELF-64"]);
        let elf64 = [&elf32[..], &["--elf64-core-headers"]].concat();
        dry_run_on(&fixture(PAE), &bzimage, &elf64).assert_succeeds();
    }

    #[test]
    fn a_64_bit_kernel_starts_by_its_32_bit_entry() {
        let options = ["--arch=i386", "-p", "--format=json"];
        let plan = dry_run_on(&fixture(MACHINE), &kernels::bzimage(), &options).json();
        assert_eq!(plan["entry_mode"], "bzimage32");
        let reason = plan["entry_reason"].as_str().unwrap();
        assert!(reason.contains("the running kernel is a 32-bit one"), "{reason}");
        dry_run_on(&fixture(MACHINE), &kernels::vmlinux(), &["--arch=i386", "-p"])
            .assert_fails(255, &["e_machine 62, 64 bits", "i386 (3, 32 bits)"]);
    }
}
