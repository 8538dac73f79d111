//! Programs that are not Linux, on the machines of this planner's tests.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::mem::offset_of;

use purgatory::params::{HandoffMode, Params};

use crate::facts::x86::{MemoryKind, MemoryRange};
use crate::image::multiboot::{Relocatable, Version};
use crate::image::{Load, Multiboot, Vmlinux};
use crate::plan::testing::{params_of, segment, u32_at, u64_at};
use crate::plan::x86::program::multiboot::kib_from;
use crate::plan::x86::testing::{facts, facts_i386, plan, request};
use crate::plan::{
    ElfArguments, EntryMode, Kernel, Module, Plan, PlanError, Program, Target, What, soundness,
};
use crate::range::PhysRange;

fn program(p_paddr: u64, is_64: bool) -> Vmlinux<'static> {
    let load = Load {
        data: Cow::Borrowed(b"code"),
        p_paddr,
        p_vaddr: p_paddr,
        p_memsz: 0x5000,
        p_align: 0x1000,
        flags: 7,
    };
    Vmlinux {
        entry: p_paddr + 2,
        machine: if is_64 { 62 } else { 3 },
        is_64,
        is_little_endian: true,
        loads: [load].into(),
        tail: &[],
    }
}

fn kernel(version: Version, p_paddr: u64) -> Multiboot<'static> {
    let program = program(p_paddr, false);
    Multiboot { version, entry: program.entry, program, relocatable: None }
}

const MODULES: [Module<'_>; 2] =
    [Module { data: &[1; 5000], text: "/m1 one" }, Module { data: &[2; 10], text: "/m2" }];

fn register(plan: &Plan<'_>, index: usize) -> u64 {
    u64_at(&params_of(plan), offset_of!(Params, handoff.registers) + 8 * index)
}

fn mode(plan: &Plan<'_>) -> u32 {
    u32_at(&params_of(plan), offset_of!(Params, handoff.mode))
}

fn started<'a>(program: Program<'a>) -> Result<Plan<'a>, PlanError> {
    let request = request(Target::Reboot, Kernel::Program(program));
    let plan = plan(&request, &facts())?;
    let ram = [PhysRange::new(0x1000, 0x9f000), PhysRange::new(0x10_0000, 0x3ff0_0000)];
    soundness::assert_sound(&plan, &request, &ram, 4096);
    Ok(plan)
}

#[test]
fn a_multiboot_kernel_finds_its_information_and_modules() {
    let image = kernel(Version::One, 0x20_0000);
    let plan = started(Program::Multiboot { image: &image, modules: &MODULES }).unwrap();
    assert_eq!(
        (plan.entry_mode, mode(&plan)),
        (EntryMode::Multiboot, HandoffMode::X86Protected as u32)
    );
    assert_eq!(segment(&plan, What::Kernel).address, 0x20_0000);
    let told = segment(&plan, What::BootInformation);
    assert_eq!((register(&plan, 0), register(&plan, 1)), (0x2bad_b002, told.address));
    let at = |offset: usize| u64::from(u32_at(&told.data, offset));
    let text = |address: u64| {
        let start = soundness::index(address - told.address);
        let length = told.data[start..].iter().position(|byte| *byte == 0).unwrap();
        core::str::from_utf8(&told.data[start..start + length]).unwrap()
    };
    assert_eq!(text(at(16)), "console=ttyS0");
    assert_eq!(at(20), 2);
    let modules = segment(&plan, What::Modules);
    let list = soundness::index(at(24) - told.address);
    for (index, module) in MODULES.iter().enumerate() {
        let (start, end) = (at(list + 16 * index), at(list + 16 * index + 4));
        assert_eq!(start % 4096, 0);
        let range =
            soundness::index(start - modules.address)..soundness::index(end - modules.address);
        assert_eq!(&modules.data[range], module.data);
        assert_eq!(text(at(list + 16 * index + 8)), module.text);
    }
}

#[test]
fn a_relocatable_kernel_moves_and_is_told_where() {
    let mut image = kernel(Version::Two, 0x20_0000);
    image.relocatable = Some(Relocatable { min: 0x300_0000, max: 0xfff_ffff, align: 0x20_0000 });
    let plan = started(Program::Multiboot { image: &image, modules: &[] }).unwrap();
    assert_eq!(segment(&plan, What::Kernel).address, 0x300_0000);
    let entry = u64_at(&params_of(&plan), offset_of!(Params, handoff.entry));
    assert_eq!((entry, register(&plan, 0)), (0x300_0002, 0x36d7_6289));
    let told = &segment(&plan, What::BootInformation).data;
    let base = [21, 12, 0x300_0000_u32].map(u32::to_le_bytes).concat();
    assert!(told.windows(12).any(|tag| tag == base));
    assert_eq!(u32_at(told, 0) as usize, told.len());
}

/// The place is aligned, not the distance, and the base is that of the first byte.
#[test]
fn a_relocatable_kernel_may_be_linked_anywhere() {
    for (linked, base) in [(0x10_0000, 0x20_0000), (0x10_0800, 0x20_0800)] {
        let mut image = kernel(Version::Two, linked);
        image.relocatable = Some(Relocatable { min: 0x10_0000, max: u32::MAX, align: 0x20_0000 });
        let plan = started(Program::Multiboot { image: &image, modules: &[] }).unwrap();
        assert_eq!(segment(&plan, What::Kernel).address, 0x20_0000);
        let entry = u64_at(&params_of(&plan), offset_of!(Params, handoff.entry));
        assert_eq!(entry, u64::from(base) + 2);
        let told = &segment(&plan, What::BootInformation).data;
        let tag = [21, 12, base].map(u32::to_le_bytes).concat();
        assert!(told.windows(12).any(|window| window == tag), "{linked:#x}");
    }
}

#[test]
fn a_program_may_be_in_low_memory_and_nothing_else() {
    let image = kernel(Version::One, 0x8000);
    let plan = started(Program::Multiboot { image: &image, modules: &MODULES }).unwrap();
    for segment in &plan.segments {
        assert_eq!(segment.address < 1 << 20, segment.what == What::Kernel, "{}", segment.what);
    }
}

#[test]
fn elf_programs_get_notes_or_nothing() {
    let (long, protected) = (program(0x20_0000, true), program(0x20_0000, false));
    let plan = |vmlinux, arguments| started(Program::Elf { vmlinux, arguments }).unwrap();
    let of_64 = plan(&long, ElfArguments::Notes);
    assert_eq!(mode(&of_64), HandoffMode::X86Long as u32);
    assert!(register(&of_64, 5) > segment(&of_64, What::BootInformation).address);
    let of_32 = plan(&protected, ElfArguments::Notes);
    assert_eq!(mode(&of_32), HandoffMode::X86Protected as u32);
    assert!(register(&of_32, 7) > segment(&of_32, What::BootInformation).address);
    let bare = plan(&long, ElfArguments::None);
    assert!((0..8).all(|index| register(&bare, index) == 0));
    assert!(bare.segments.iter().all(|segment| segment.what != What::BootInformation));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (image, elf) = (kernel(Version::One, 0x20_0000), program(0x20_0000, true));
    let multiboot = Kernel::Program(Program::Multiboot { image: &image, modules: &[] });
    let crash = plan(&request(Target::Crash, multiboot), &facts()).unwrap_err();
    assert!(matches!(crash, PlanError::NotForCrash { protocol: "Multiboot" }));
    let mut with_initrd = request(Target::Reboot, multiboot);
    with_initrd.initrd = Some(b"initrd");
    let initrd = plan(&with_initrd, &facts()).unwrap_err();
    assert!(initrd.to_string().contains("--module"), "{initrd}");
    let elf = Kernel::Program(Program::Elf { vmlinux: &elf, arguments: ElfArguments::None });
    let other = plan(&request(Target::Reboot, elf), &facts_i386()).unwrap_err();
    assert!(matches!(other, PlanError::Machine { .. }), "{other}");
    let nowhere = kernel(Version::One, 0xa_0000);
    let error = started(Program::Multiboot { image: &nowhere, modules: &[] }).unwrap_err();
    assert!(matches!(error, PlanError::NoRoom { what: What::Kernel, .. }), "{error}");
}

#[test]
fn memory_is_counted_to_the_first_hole() {
    let map = |ranges: &[(u64, u64, MemoryKind)]| -> Vec<MemoryRange> {
        let entry = |&(start, end, kind)| MemoryRange { range: PhysRange::new(start, end), kind };
        ranges.iter().map(entry).collect()
    };
    let map = map(&[
        (0, 0x9fc00, MemoryKind::Ram),
        (0x9fc00, 0xa_0000, MemoryKind::Reserved),
        (0x10_0000, 0x20_0000, MemoryKind::Ram),
    ]);
    assert_eq!((kib_from(&map, 0), kib_from(&map, 1 << 20)), (639, 1024));
    assert_eq!(kib_from(&map, 0x20_0000), 0);
}
