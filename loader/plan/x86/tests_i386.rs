//! What plans with 32-bit kernels must contain.

use alloc::{string::ToString, vec, vec::Vec};
use core::mem::offset_of;

use goblin::elf::Elf;
use purgatory::params::{HandoffMode, Params};

use super::testing::{
    CRASH_I386, I386, USUAL, assert_sound, bzimage_request, facts, facts_i386, plan, request,
    vmlinux, vmlinux_i386, x86,
};
use crate::elfcore::Class;
use crate::facts::Facts;
use crate::facts::x86::{MemoryKind, MemoryRange};
use crate::image::BzImage;
use crate::plan::testing::{params_of, segment, u32_at, u64_at};
use crate::plan::{EntryMode, Kernel, Options, Plan, PlanError, Request, Target, What};
use crate::range::PhysRange;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn handoff(plan: &Plan<'_>) -> (u32, u64) {
    let params = params_of(plan);
    let mode = u32_at(&params, offset_of!(Params, handoff.mode));
    (mode, u64_at(&params, offset_of!(Params, handoff.entry)))
}

/// (class, e_machine) of the core headers in a crash kernel's plan.
fn format(
    image: &BzImage<'_>,
    facts: &Facts,
    core_class: Option<Class>,
) -> Result<(u8, u16), PlanError> {
    let options = Options { core_class, ..Options::default() };
    let kernel = Kernel::BzImage { image, entry_32bit: true };
    let plan = plan(&Request { options, ..request(Target::Crash, kernel) }, facts)?;
    let headers = &segment(&plan, What::Elfcorehdr).data;
    Ok((headers[4], Elf::parse(headers).unwrap().header.e_machine))
}

#[test]
fn a_bzimage_is_entered_in_32_bits_from_both_machines() {
    let file = I386.file();
    let image = BzImage::parse(&file).unwrap();
    let initrd = [7; 5000];
    let mut low = facts();
    low.crash_ranges = vec![CRASH_I386];
    for facts in [facts_i386(), low] {
        let kernel = Kernel::BzImage { image: &image, entry_32bit: true };
        let request = Request { initrd: Some(&initrd), ..request(Target::Crash, kernel) };
        let plan = plan(&request, &facts).unwrap();
        assert_sound(&plan, &request, &facts);
        assert_eq!(plan.entry_mode, EntryMode::BzImage32);
        assert_eq!(segment(&plan, What::Kernel).address, CRASH_I386.start);
        assert_eq!(handoff(&plan), (HandoffMode::X86Protected as u32, CRASH_I386.start));
    }
    let error = plan(&bzimage_request(Target::Crash, &image), &facts_i386()).unwrap_err();
    assert_eq!(error, PlanError::No64BitEntry);
}

#[test]
fn a_relocated_kernel_is_entered_directly() {
    let file = I386.file();
    let image = BzImage::parse(&file).unwrap();
    let text = words(&[0xc100_0004, 0x1234_5678]);
    let data = words(&[0xc140_0000, 0, 0, 0]);
    let relocations = words(&[0, 0xc100_0000, 0xc140_0000]);
    let vmlinux =
        vmlinux_i386(&[(0x100_0000, &text, 0x3000), (0x140_0000, &data, 0x9000)], &relocations);
    let kernel = Kernel::Direct { header: Some(&image), vmlinux: &vmlinux };
    let (request, facts) = (request(Target::Crash, kernel), facts_i386());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    assert_eq!(plan.entry_mode, EntryMode::Direct);
    assert_eq!(handoff(&plan), (HandoffMode::X86Protected as u32, CRASH_I386.start));
    let kernels: Vec<_> =
        plan.segments.iter().filter(|segment| segment.what == What::Kernel).collect();
    assert_eq!(kernels[0].address, CRASH_I386.start);
    assert_eq!(*kernels[0].data, words(&[0xd800_0004, 0x1234_5678]));
    assert_eq!(kernels[1].address, CRASH_I386.start + 0x40_0000);
    assert_eq!(*kernels[1].data, words(&[0xd840_0000])[..]);
}

#[test]
fn a_kernel_without_relocations_stays_where_it_is_linked() {
    let text = words(&[0xc100_0004]);
    let bare = vmlinux_i386(&[(0x100_0000, &text, 0x3000)], &[]);
    let kernel = Kernel::Direct { header: None, vmlinux: &bare };
    let reboot = plan(&request(Target::Reboot, kernel), &facts_i386()).unwrap();
    let placed = segment(&reboot, What::Kernel);
    assert_eq!((placed.address, &*placed.data), (0x100_0000, &text[..]));
    let error = plan(&request(Target::Crash, kernel), &facts_i386()).unwrap_err();
    assert!(error.to_string().contains("it must be at 0x1000000-0x1002fff"), "{error}");

    let damaged = words(&[0, 0xc200_0000]);
    let vmlinux = vmlinux_i386(&[(0x100_0000, &text, 0x3000)], &damaged);
    let kernel = Kernel::Direct { header: None, vmlinux: &vmlinux };
    let error = plan(&request(Target::Crash, kernel), &facts_i386()).unwrap_err();
    assert!(error.to_string().contains("a relocation at 0xc2000000"), "{error}");
}

#[test]
fn a_32_bit_kernel_stays_in_its_low_memory() {
    let file = I386.file();
    let image = BzImage::parse(&file).unwrap();
    let kernel = Kernel::BzImage { image: &image, entry_32bit: true };
    let mut facts = facts();
    let high = PhysRange::new(0x8000_0000, 0x9000_0000);
    x86(&mut facts).firmware_map.push(MemoryRange { range: high, kind: MemoryKind::Ram });
    facts.system_ram.push(high);
    // The reboot's kernel is low although there is room above, the rest wherever it is reachable.
    let request_low = request(Target::Reboot, kernel);
    let reboot = plan(&request_low, &facts).unwrap();
    assert_sound(&reboot, &request_low, &facts);
    assert!(segment(&reboot, What::Kernel).range().end <= 0x3600_0000);
    facts.crash_ranges = vec![high];
    let error = plan(&request(Target::Crash, kernel), &facts).unwrap_err();
    assert_eq!(error, PlanError::AboveLowMemory { reserved: high, end: 0x3600_0000 });
}

#[test]
fn a_64_bit_elf_kernel_does_not_start_on_a_32_bit_machine() {
    let kernel = vmlinux(&[(0x100_0000, &[1; 64], 64)]);
    let kernel = Kernel::Direct { header: None, vmlinux: &kernel };
    let error = plan(&request(Target::Crash, kernel), &facts_i386()).unwrap_err();
    let wanted = "i386 (3, 32 bits)";
    assert_eq!(error, PlanError::Machine { e_machine: 62, bits: 64, wanted });
}

#[test]
fn core_headers_have_the_class_that_memory_and_capture_kernel_need() {
    let (file_32, file_64) = (I386.file(), USUAL.file());
    let (i386, x86_64) = (BzImage::parse(&file_32).unwrap(), BzImage::parse(&file_64).unwrap());
    let high = PhysRange::new(0x1_0000_0000, 0x1_8000_0000);
    let mut pae = facts_i386();
    pae.system_ram.push(high);
    let mut on_x86_64 = facts();
    on_x86_64.crash_ranges = vec![CRASH_I386];

    const ELF32: u8 = 1;
    const ELF64: u8 = 2;
    const EM_386: u16 = 3;
    const EM_X86_64: u16 = 62;
    assert_eq!(format(&i386, &facts_i386(), None), Ok((ELF32, EM_386)));
    assert_eq!(format(&i386, &pae, None), Ok((ELF64, EM_386)));
    assert_eq!(format(&i386, &facts_i386(), Some(Class::Elf64)), Ok((ELF64, EM_386)));
    assert_eq!(format(&i386, &on_x86_64, None), Ok((ELF64, EM_X86_64)));
    assert_eq!(format(&i386, &on_x86_64, Some(Class::Elf32)), Ok((ELF32, EM_386)));
    assert_eq!(format(&x86_64, &on_x86_64, None), Ok((ELF64, EM_X86_64)));
    assert_eq!(format(&x86_64, &facts_i386(), None), Ok((ELF64, EM_X86_64)));
    let error = format(&i386, &pae, Some(Class::Elf32)).unwrap_err();
    assert!(error.to_string().contains("0x100000000-0x17fffffff"), "{error}");
}
