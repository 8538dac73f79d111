//! What single plans must contain.

use alloc::{format, string::ToString, vec};
use core::mem::offset_of;

use goblin::elf::Elf;
use purgatory::params::{ConsoleFlags, HandoffMode, Params};

use super::testing::{
    CRASH, M, RTAS, assert_sound, dtb, facts, head, plan, request, tree, usable, vmlinux,
};
use crate::facts::ppc64::PAGE_OFFSET;
use crate::facts::{Arch, Platform};
use crate::plan::testing::{params_of, segment, u32_at, u64_at};
use crate::plan::{EntryMode, Options, PlanError, Request, Target, What};
use crate::range::PhysRange;

#[test]
fn a_crash_kernel() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let initrd = [7; 5000];
    let request = Request { initrd: Some(&initrd), ..request(Target::Crash, &kernel) };
    let facts = facts(Arch::Ppc64le, tree());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    assert_eq!(plan.entry_mode, EntryMode::Vmlinux);
    let loaded = segment(&plan, What::Kernel);
    assert_eq!((loaded.address, loaded.memsz), (CRASH.start, 40 * M));
    let elfcorehdr = segment(&plan, What::Elfcorehdr);
    assert_eq!(
        plan.command_line,
        format!("console=hvc0 elfcorehdr={}K", elfcorehdr.address / 1024)
    );
    let params = params_of(&plan);
    assert_eq!(u32_at(&params, offset_of!(Params, handoff.mode)), HandoffMode::Ppc64 as u32);
    assert_eq!(u64_at(&params, offset_of!(Params, handoff.entry)), CRASH.start);
    assert_eq!(u64_at(&params, offset_of!(Params, firmware.rtas_base)), RTAS.start);
    assert_eq!(u32_at(&params, offset_of!(Params, firmware.system_reboot)), 0x2004);
    let backup = segment(&plan, What::Backup);
    assert_eq!(u64_at(&params, offset_of!(Params, backup.destination)), backup.address);
    assert_eq!(u64_at(&params, offset_of!(Params, backup.length)), 64 << 10);

    let elf = Elf::parse(&elfcorehdr.data).unwrap();
    assert_eq!((elf.header.e_machine, elf.little_endian), (21, true));
    let low = elf.program_headers.iter().find(|header| header.p_vaddr == PAGE_OFFSET).unwrap();
    assert_eq!((low.p_offset, low.p_paddr, low.p_memsz), (backup.address, 0, 64 << 10));
}

#[test]
fn a_big_endian_machine_has_big_endian_core_headers() {
    let data = head(false);
    let kernel = vmlinux(&data, 40 * M, false);
    let request = request(Target::Crash, &kernel);
    let facts = facts(Arch::Ppc64, tree());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let elf = &segment(&plan, What::Elfcorehdr).data;
    assert_eq!(elf[4..6], [2, 2], "ELFCLASS64, ELFDATA2MSB");
}

#[test]
fn the_trampoline_is_the_new_kernel_s_start() {
    for (arch, is_little_endian, one) in
        [(Arch::Ppc64le, true, [1, 0, 0, 0]), (Arch::Ppc64, false, [0, 0, 0, 1])]
    {
        let data = head(is_little_endian);
        let kernel = vmlinux(&data, 4 * M, is_little_endian);
        let facts = facts(arch, tree());
        for (target, run_at_load) in
            [(Target::Crash, &one[..]), (Target::Reboot, &data[0x5c..0x60])]
        {
            let plan = plan(&request(target, &kernel), &facts).unwrap();
            let purgatory = &segment(&plan, What::Purgatory).data;
            assert_ne!(purgatory[..4], data[..4], "purgatory's own branch");
            assert_eq!(purgatory[4..0x5c], data[4..0x5c]);
            assert_eq!(purgatory[0x5c..0x60], *run_at_load);
            assert_eq!(purgatory[0x60..0x100], data[0x60..0x100]);
        }
    }
}

#[test]
fn a_capture_kernel_gets_the_memory_at_0_its_own_and_the_firmware_s() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let mut tree = tree();
    // RTAS outside of the crash kernel's memory.
    let rtas = tree.node_mut("/rtas").unwrap();
    rtas.set("linux,rtas-base", 0x7fff_0000_u32.to_be_bytes());
    let facts = facts(Arch::Ppc64le, tree);
    let request = request(Target::Crash, &kernel);
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let tree = dtb(&plan);
    let memory = tree.node("/memory@0").unwrap();
    let ranges = tree.memory_cells().unwrap().ranges(memory, "linux,usable-memory").unwrap();
    assert_eq!(ranges, [PhysRange::new(0, CRASH.end), PhysRange::new(0x7fff_0000, 0x8000_0000)]);
    assert!(tree.reservations.contains(&PhysRange::new(0x7fff_0000, 0x8000_0000)));
    let free = usable(&tree);
    assert_eq!(free[0], PhysRange::new(0, 64 << 10));
    assert_eq!(free[1].start, CRASH.start, "the dead kernel's memory is reserved");
}

#[test]
fn the_tree_says_nothing_that_was_for_the_running_kernel() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let mut tree = tree();
    let chosen = tree.node_mut("/chosen").unwrap();
    chosen.set_u64("linux,htab-base", 0x100_0000);
    chosen.set_u64("linux,htab-size", 0x100_0000);
    chosen.set("rng-seed", [1; 32]);
    chosen.set_string("linux,stdout-path", "/vdevice/vty@71000000");
    let facts = facts(Arch::Ppc64le, tree);
    let mut request = request(Target::Reboot, &kernel);
    request.options.rng_seed = Some([2; 32]);
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let tree = dtb(&plan);
    let names = tree.node("/chosen").unwrap().properties.iter().map(|property| &*property.name);
    let mut names: alloc::vec::Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["bootargs", "linux,booted-from-kexec", "linux,stdout-path", "rng-seed"]);
    assert_eq!(tree.node("/chosen").unwrap().property("rng-seed"), Some(&[2; 32][..]));
    assert_eq!(tree.node("/cpus/PowerPC,POWER9@8").unwrap().property("name"), None);
    assert_eq!(tree.node("/memory@0").unwrap().property("linux,usable-memory"), None);
}

#[test]
fn a_reboot_kernel_has_room_to_move_to_0() {
    let data = head(true);
    // The new kernel is larger than the running one.
    let kernel = vmlinux(&data, 100 * M, true);
    let request = request(Target::Reboot, &kernel);
    let facts = facts(Arch::Ppc64le, tree());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    for segment in &plan.segments {
        assert!(segment.address >= 100 * M, "{} is in the kernel's way", segment.what);
    }
}

#[test]
fn the_running_kernel_s_initrd_can_be_reused() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let options = Options { reuse_initrd: true, ..Options::default() };
    let facts = facts(Arch::Ppc64le, tree());
    let mut request = Request { options, ..request(Target::Reboot, &kernel) };
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let initrd = PhysRange::new(64 * M, 70 * M + 5);
    assert!(plan.segments.iter().all(|segment| !segment.range().overlaps(&initrd)));
    let tree = dtb(&plan);
    assert_eq!(tree.node("/chosen").unwrap().number("linux,initrd-end"), Ok(Some(initrd.end)));
    assert!(tree.reservations.contains(&initrd));

    request.target = Target::Crash;
    assert_eq!(super::testing::plan(&request, &facts).unwrap_err(), PlanError::InitrdNotReserved);
}

#[test]
fn another_device_tree_can_be_given() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let facts = facts(Arch::Ppc64le, tree());
    let mut given = tree();
    given.root.set_string("model", "given");
    given.reservations = vec![PhysRange::new(M, 2 * M)];
    let options = Options { device_tree: Some(given), ..Options::default() };
    let request = Request { options, ..request(Target::Reboot, &kernel) };
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let tree = dtb(&plan);
    assert_eq!(tree.root.string("model"), Ok(Some("given")));
    assert!(tree.reservations.contains(&PhysRange::new(M, 2 * M)));
}

#[test]
fn a_given_device_tree_must_have_the_crash_kernel_s_memory() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let mut given = tree();
    let reg = [0_u64.to_be_bytes(), (CRASH.end - M).to_be_bytes()];
    given.node_mut("/memory@0").unwrap().set("reg", reg.as_flattened());
    let options = Options { device_tree: Some(given), ..Options::default() };
    let request = Request { options, ..request(Target::Crash, &kernel) };
    let missing = PhysRange::new(CRASH.end - M, CRASH.end);
    let error = plan(&request, &facts(Arch::Ppc64le, tree())).unwrap_err();
    assert_eq!(error, PlanError::NotInTree { missing });
}

#[test]
fn with_hotplug_the_tree_has_room_for_cpus_and_is_not_digested() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let facts = facts(Arch::Ppc64le, tree());
    let size = |hotplug| {
        let options = Options { hotplug, ..Options::default() };
        let request = Request { options, ..request(Target::Crash, &kernel) };
        let plan = plan(&request, &facts).unwrap();
        assert_sound(&plan, &request, &facts);
        let dtb = segment(&plan, What::Dtb);
        assert_eq!(dtb.digest.is_none(), hotplug);
        dtb.data.len()
    };
    // Cores of two threads; the kernel knows eight threads. Each node has more than 80 bytes.
    assert!(size(true) >= size(false) + 4 * 80, "{} {}", size(true), size(false));
}

#[test]
fn what_cannot_work_is_refused() {
    let data = head(true);
    let good = vmlinux(&data, 40 * M, true);
    let facts = facts(Arch::Ppc64le, tree());
    let refused = |kernel, target| plan(&request(target, kernel), &facts).unwrap_err();

    let other = crate::image::Vmlinux { machine: 62, ..good.clone() };
    let message = refused(&other, Target::Crash).to_string();
    assert!(message.contains("ppc64 (21, 64 bits)"), "{message}");

    let fixed = [0x60; 4096];
    let fixed = vmlinux(&fixed, 40 * M, true);
    assert_eq!(refused(&fixed, Target::Crash), PlanError::NoRunAtLoad);
    assert!(plan(&request(Target::Reboot, &fixed), &facts).is_ok());

    let big_endian = head(false);
    let big_endian = vmlinux(&big_endian, 40 * M, false);
    let message = refused(&big_endian, Target::Crash).to_string();
    assert!(message.contains("the running kernel, which is little-endian"), "{message}");
    assert!(plan(&request(Target::Reboot, &big_endian), &facts).is_ok());

    let tiny = vmlinux(&data[..200], 40 * M, true);
    assert_eq!(refused(&tiny, Target::Crash), PlanError::NoTrampoline);

    let physical = crate::image::Vmlinux { entry: 0x100, ..good.clone() };
    assert!(matches!(refused(&physical, Target::Crash), PlanError::Entry { entry: 0x100, .. }));

    let huge = vmlinux(&data, 300 * M, true);
    assert!(matches!(refused(&huge, Target::Crash), PlanError::NoRoom { .. }));

    let mut facts = facts.clone();
    let Platform::Ppc64(machine) = &mut facts.platform else { panic!("a ppc64 machine") };
    machine.rma = PhysRange::new(0, 128 * M);
    let outside = plan(&request(Target::Crash, &good), &facts).unwrap_err();
    assert!(matches!(outside, PlanError::NotInRma { .. }), "{outside}");
}

#[test]
fn opal_is_passed_on() {
    let data = head(true);
    let kernel = vmlinux(&data, 40 * M, true);
    let mut tree = tree();
    tree.root.children.retain(|node| node.name != "rtas");
    let opal = tree.root.child_or_new("ibm,opal");
    opal.set_u64("opal-base-address", 0x3000_0000);
    opal.set_u64("opal-entry-address", 0x3000_0300);
    opal.set_u64("opal-runtime-size", 0x100_0000);
    let facts = facts(Arch::Ppc64le, tree);
    let mut request = request(Target::Crash, &kernel);
    request.options.console.flags = ConsoleFlags::OPAL.bits();
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let params = params_of(&plan);
    let register = |n| u64_at(&params, offset_of!(Params, handoff.registers) + 8 * n);
    use purgatory::params::ppc64::{R8, R9};
    assert_eq!((register(R8), register(R9)), (0x3000_0000, 0x3000_0300));
    assert_eq!(u64_at(&params, offset_of!(Params, firmware.opal_entry)), 0x3000_0300);
}
