//! What single plans must contain.

use alloc::{string::ToString, vec, vec::Vec};
use core::mem::offset_of;

use goblin::elf::Elf;
use purgatory::params::{Flags, HandoffMode, Params};

use super::entry::{Choice, Obstacle, Situation, Wanted};
use super::kaslr::{Bases, Fixed, Seed};
use super::testing::{
    CRASH, Header, I386, USUAL, assert_sound, bzimage_request, facts, plan, request, vmlinux, x86,
};
use crate::facts::x86::{Cpu, Efi, EfiMapping, MemoryKind, MemoryRange};
use crate::facts::{Arch, Facts};
use crate::fdt::{DeviceTree, Node};
use crate::image::{BzImage, Vmlinux};
use crate::plan::testing::{params_of, segment, u32_at, u64_at, zero_of};
use crate::plan::{EntryMode, Kernel, Options, Plan, PlanError, Request, Target, What};
use crate::range::{self, PhysRange};

/// The e820 table of boot_params.
fn e820(plan: &Plan<'_>) -> Vec<(u64, u64, u32)> {
    let data = &segment(plan, What::BootParams).data;
    (0..usize::from(data[0x1e8]))
        .map(|n| 0x2d0 + 20 * n)
        .map(|at| {
            (u64_at(data, at), u64_at(data, at) + u64_at(data, at + 8), u32_at(data, at + 16))
        })
        .collect()
}

#[test]
fn a_crash_kernel_through_its_bzimage() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let initrd = [7; 5000];
    let request = Request { initrd: Some(&initrd), ..bzimage_request(Target::Crash, &image) };
    let facts = facts();
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let kernel = segment(&plan, What::Kernel);
    assert_eq!((kernel.address, kernel.memsz), (CRASH.start, 0x80_0000));
    assert_eq!(*kernel.data, *image.kernel);
    assert_eq!(plan.entry_mode, EntryMode::BzImage64);
    let params = params_of(&plan);
    assert_eq!(u32_at(&params, offset_of!(Params, handoff.mode)), HandoffMode::X86Long as u32);
    assert_eq!(u64_at(&params, offset_of!(Params, handoff.entry)), CRASH.start + 0x200);
    let elfcorehdr = segment(&plan, What::Elfcorehdr).address;
    assert_eq!(
        plan.command_line,
        alloc::format!("console=ttyS0 elfcorehdr={}K acpi_rsdp=0xf5ad0", elfcorehdr / 1024)
    );
}

#[test]
fn the_capture_kernel_gets_low_memory_its_own_and_the_firmwares_ranges() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let mut facts = facts();
    let cma = PhysRange::new(0x2000_0000, 0x2800_0000);
    facts.crash_cma_ranges = vec![cma];
    let plan = plan(&bzimage_request(Target::Crash, &image), &facts).unwrap();
    let elfcorehdr = segment(&plan, What::Elfcorehdr).range();
    let backup = segment(&plan, What::Backup).range();
    assert_eq!(elfcorehdr.end, backup.start);
    assert_eq!(
        e820(&plan),
        [
            (0x1000, 0x9fc00, 1),
            (0x9fc00, 0xa_0000, 2),
            (cma.start, cma.end, 1),
            (CRASH.start, elfcorehdr.start, 1),
            (elfcorehdr.start, elfcorehdr.end, 2),
            (backup.start, backup.end, 2),
            (0x3ff0_0000, 0x3ff8_0000, 3),
            (0x3ff8_0000, 0x4000_0000, 4),
            (0xfeff_c000, 0x1_0000_0000, 2),
        ]
    );
    let headers = segment(&plan, What::Elfcorehdr);
    let elf = Elf::parse(&headers.data).unwrap();
    let loads: Vec<_> = elf
        .program_headers
        .iter()
        .filter(|header| header.p_type == 1)
        .map(|header| (header.p_paddr, header.p_memsz, header.p_offset))
        .collect();
    assert_eq!(
        loads,
        [
            (0x1000, 0x9ec00, backup.start),
            (0x10_0000, 0x1ff0_0000, 0x10_0000),
            (0x2800_0000, 0x800_0000, 0x2800_0000),
            (0x3800_0000, 0x7f0_0000, 0x3800_0000),
        ]
    );
    let params = params_of(&plan);
    assert_eq!(u32_at(&params, offset_of!(Params, flags)), (Flags::VERIFY | Flags::BACKUP).bits());
    assert_eq!(u64_at(&params, offset_of!(Params, backup.source)), 0x1000);
    assert_eq!(u64_at(&params, offset_of!(Params, backup.destination)), backup.start);
    assert_eq!(u64_at(&params, offset_of!(Params, backup.length)), 0x9_f000);
}

#[test]
fn a_crash_kernel_entered_directly() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let text = [0xcc; 0x3000];
    let mut data = [0; 0x2000];
    data[..0x1234].fill(0xdd);
    let vmlinux = vmlinux(&[(0x100_0000, &text, 0x3000), (0x140_0000, &data, 0x9000)]);
    let kernel = Kernel::Direct { header: Some(&image), vmlinux: &vmlinux };
    let (request, facts) = (request(Target::Crash, kernel), facts());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let kernels: Vec<_> =
        plan.segments.iter().filter(|segment| segment.what == What::Kernel).collect();
    let places: Vec<_> = kernels.iter().map(|segment| (segment.address, segment.memsz)).collect();
    assert_eq!(places, [(CRASH.start, 0x3000), (CRASH.start + 0x40_0000, 0x9000)]);
    assert_eq!(*kernels[1].data, data[..0x1234]);
    let params = params_of(&plan);
    let zero = zero_of(&params);
    assert_eq!((zero.len(), zero[0].address), (1, CRASH.start + 0x40_1234));
    assert_eq!(zero[0].length, 0x2000 - 0x1234);
    assert_eq!(u64_at(&params, offset_of!(Params, handoff.entry)), CRASH.start);
    assert_eq!(plan.entry_mode, EntryMode::Direct);
}

#[test]
fn loads_that_share_a_page_become_one_segment() {
    let vmlinux = vmlinux(&[(0x100_0800, &[1; 0x900], 0x900), (0x100_1100, &[2; 0x100], 0x2000)]);
    let kernel = Kernel::Direct { header: None, vmlinux: &vmlinux };
    let (request, facts) = (request(Target::Reboot, kernel), facts());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let segment = segment(&plan, What::Kernel);
    assert_eq!((segment.address, segment.memsz), (0x100_0000, 0x4000));
    let expected = [vec![0; 0x800], vec![1; 0x900], vec![2; 0x100]].concat();
    assert_eq!(*segment.data, expected);
    let entry = u64_at(&params_of(&plan), offset_of!(Params, handoff.entry));
    assert_eq!(entry, 0x100_0800);
}

#[test]
fn many_loads_are_joined_where_the_gaps_are_smallest() {
    let starts = [0x100_0000, 0x120_0000, 0x120_4000, 0x140_0000, 0x160_0000, 0x160_3000];
    let loads: Vec<_> = starts.iter().map(|&start| (start, &[9_u8; 0x1000][..], 0x1000)).collect();
    let vmlinux = vmlinux(&loads);
    let kernel = Kernel::Direct { header: None, vmlinux: &vmlinux };
    let (request, facts) = (request(Target::Crash, kernel), facts());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let kernels = plan.segments.iter().filter(|segment| segment.what == What::Kernel);
    let places: Vec<_> =
        kernels.map(|segment| (segment.address - CRASH.start, segment.memsz)).collect();
    let expected = [(0, 0x1000), (0x20_0000, 0x5000), (0x40_0000, 0x1000), (0x60_0000, 0x4000)];
    assert_eq!(places, expected);
}

#[test]
fn a_reboot_goes_where_a_boot_loader_would_put_it() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let (request, mut facts) = (bzimage_request(Target::Reboot, &image), facts());
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    assert_eq!(segment(&plan, What::Kernel).address, 0x100_0000);
    assert_eq!(plan.command_line, "console=ttyS0");
    let firmware: Vec<_> =
        x86(&mut facts).firmware_map.iter().map(|entry| entry.range.start).collect();
    assert_eq!(e820(&plan).iter().map(|entry| entry.0).collect::<Vec<_>>(), firmware);
    let flags = u32_at(&params_of(&plan), offset_of!(Params, flags));
    assert_eq!(flags, Flags::VERIFY.bits());
}

#[test]
fn what_the_running_kernel_reserved_is_left_alone() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let mut facts = facts();
    // The firmware calls it RAM, the running kernel does not (an EFI table it keeps).
    let kept = PhysRange::new(0x3fd0_0000, 0x3ff0_0000);
    facts.system_ram = range::subtract(&facts.system_ram, &[kept]);
    let plan = plan(&bzimage_request(Target::Reboot, &image), &facts).unwrap();
    assert!(!plan.segments.iter().any(|segment| segment.range().overlaps(&kept)));
}

#[test]
fn the_32bit_entry_keeps_everything_below_4g() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let mut facts = facts();
    let high = PhysRange::new(0x1_0000_0000, 0x2_0000_0000);
    x86(&mut facts).firmware_map.push(MemoryRange { range: high, kind: MemoryKind::Ram });
    facts.system_ram.push(high);
    let kernel = Kernel::BzImage { image: &image, entry_32bit: true };
    let request = request(Target::Reboot, kernel);
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    assert!(plan.segments.iter().all(|segment| segment.range().end <= 1 << 32));
    assert_eq!(plan.entry_mode, EntryMode::BzImage32);
    let params = params_of(&plan);
    let kernel = segment(&plan, What::Kernel).address;
    assert_eq!(u64_at(&params, offset_of!(Params, handoff.entry)), kernel);
    assert_eq!(u32_at(&params, offset_of!(Params, handoff.mode)), HandoffMode::X86Protected as u32);
    let boot_params = segment(&plan, What::BootParams);
    assert_eq!(u64::from(u32_at(&boot_params.data, 0x214)), kernel);
}

#[test]
fn a_reservation_above_4g_is_used_by_kernels_that_can() {
    let mut facts = facts();
    let high = PhysRange::new(0x1_0000_0000, 0x1_1000_0000);
    facts.system_ram.push(high);
    facts.crash_ranges.push(high);
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let initrd = [1; 4096];
    let with_initrd = Request { initrd: Some(&initrd), ..bzimage_request(Target::Crash, &image) };
    let above = plan(&with_initrd, &facts).unwrap();
    assert_sound(&above, &with_initrd, &facts);
    // The low reservation is memory for the capture kernel all the same.
    assert!(e820(&above).contains(&(CRASH.start, CRASH.end, 1)));

    let entry_32bit = request(Target::Crash, Kernel::BzImage { image: &image, entry_32bit: true });
    let error = plan(&entry_32bit, &facts).unwrap_err();
    assert!(error.to_string().contains("0x100000000-0x10fffffff is above 4 GiB"), "{error}");
    assert!(error.to_string().contains("leave out --entry-32bit"), "{error}");
    let file = Header { xloadflags: 1, ..USUAL }.file();
    let image = BzImage::parse(&file).unwrap();
    let error = plan(&bzimage_request(Target::Crash, &image), &facts).unwrap_err();
    assert!(error.to_string().contains("crashkernel=SIZE@OFFSET"), "{error}");
}

#[test]
fn an_initrd_stays_below_initrd_addr_max() {
    let file = Header { xloadflags: 1, initrd_addr_max: 0x37ff_ffff / 2, ..USUAL }.file();
    let image = BzImage::parse(&file).unwrap();
    let initrd = [3; 10_000];
    let request = Request { initrd: Some(&initrd), ..bzimage_request(Target::Reboot, &image) };
    let plan = plan(&request, &facts()).unwrap();
    let place = segment(&plan, What::Initrd).range();
    assert_eq!(place.end, 0x1c00_0000 & !0xfff);
}

#[test]
fn what_does_not_fit_is_named_with_what_is_missing() {
    let file = Header { init_size: 0x900_0000, ..USUAL }.file();
    let image = BzImage::parse(&file).unwrap();
    let error = plan(&bzimage_request(Target::Crash, &image), &facts()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel does not fit: it needs 150994944 bytes (0x9000000) aligned to 0x200000 in \
         0x30000000-0x37ffffff, where the largest free piece has 134217728: 16777216 bytes are \
         missing"
    );
    let initrd = vec![1; 0x800_0000 + 1];
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let request = Request { initrd: Some(&initrd), ..bzimage_request(Target::Crash, &image) };
    let error = plan(&request, &facts()).unwrap_err();
    assert!(error.to_string().starts_with("initrd does not fit"), "{error}");
}

#[test]
fn a_kernel_that_is_not_relocatable_goes_to_its_address() {
    let header = Header { relocatable: false, pref_address: 0x3100_0000, ..USUAL };
    let file = header.file();
    let image = BzImage::parse(&file).unwrap();
    let at = plan(&bzimage_request(Target::Crash, &image), &facts()).unwrap();
    assert_eq!(segment(&at, What::Kernel).address, 0x3100_0000);
    let file = Header { pref_address: 0x100_0000, ..header }.file();
    let image = BzImage::parse(&file).unwrap();
    let error = plan(&bzimage_request(Target::Crash, &image), &facts()).unwrap_err();
    assert!(matches!(error, PlanError::NoRoom { what: What::Kernel, .. }), "{error}");
}

#[test]
fn a_long_command_line_is_refused_with_both_lengths() {
    let file = Header { cmdline_size: 60, ..USUAL }.file();
    let image = BzImage::parse(&file).unwrap();
    // 13 bytes, and " elfcorehdr=917504K" + " acpi_rsdp=0xf5ad0" by kexec.
    assert!(plan(&bzimage_request(Target::Crash, &image), &facts()).is_ok());
    let long = "x".repeat(28);
    let request = Request { command_line: &long, ..bzimage_request(Target::Crash, &image) };
    let error = plan(&request, &facts()).unwrap_err();
    assert_eq!(error, PlanError::CommandLineTooLong { length: 65, limit: 60 });
    assert!(error.to_string().contains("shorten it by 5"), "{error}");
    let request = Request { command_line: "a\0b", ..bzimage_request(Target::Reboot, &image) };
    assert_eq!(plan(&request, &facts()).unwrap_err(), PlanError::CommandLineNul { offset: 1 });
}

#[test]
fn machines_without_a_reservation_or_memory_get_no_plan() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let nothing_reserved = Facts { crash_ranges: vec![], ..facts() };
    let error = plan(&bzimage_request(Target::Crash, &image), &nothing_reserved).unwrap_err();
    assert_eq!(error, PlanError::NoCrashMemory);
    let options = Options { mem_max: 0xf_ffff, ..Options::default() };
    let request = Request { options, ..bzimage_request(Target::Reboot, &image) };
    let error = plan(&request, &facts()).unwrap_err();
    assert!(matches!(error, PlanError::NoMemory { .. }), "{error}");
    let request = Request { initrd: Some(&[]), ..bzimage_request(Target::Reboot, &image) };
    assert_eq!(plan(&request, &facts()).unwrap_err(), PlanError::EmptyInitrd);
}

#[test]
fn hotplug_makes_room_and_is_not_verified() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let facts = Facts { crash_elfcorehdr_size: Some(0x1_2345), ..facts() };
    let options = Options { hotplug: true, ..Options::default() };
    let request = Request { options, ..bzimage_request(Target::Crash, &image) };
    let hotplug = plan(&request, &facts).unwrap();
    assert_sound(&hotplug, &request, &facts);
    let headers = segment(&hotplug, What::Elfcorehdr);
    assert_eq!((headers.memsz, headers.digest), (0x1_3000, None));
    let without = plan(&bzimage_request(Target::Crash, &image), &facts).unwrap();
    let headers = segment(&without, What::Elfcorehdr);
    assert_eq!(headers.memsz, 0x1000);
    assert!(headers.digest.is_some());
}

#[test]
fn the_memory_map_can_be_on_the_command_line() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let options = Options { pass_memmap_cmdline: true, ..Options::default() };
    let request = Request {
        options,
        command_line: "quiet -- single",
        ..bzimage_request(Target::Crash, &image)
    };
    let plan = plan(&request, &facts()).unwrap();
    let elfcorehdr = segment(&plan, What::Elfcorehdr).address;
    let usable = (elfcorehdr - CRASH.start) / 1024;
    assert_eq!(
        plan.command_line,
        alloc::format!(
            "quiet memmap=exactmap memmap=635K@4K memmap={usable}K@786432K \
             memmap=512K#1047552K memmap=512K#1048064K elfcorehdr={}K acpi_rsdp=0xf5ad0 -- single",
            elfcorehdr / 1024
        )
    );
}

#[test]
fn efi_is_handed_on_unless_the_user_or_the_kernel_cannot() {
    let mut facts = facts();
    let mut running = vec![0; 4096];
    running[0x1c0..0x1c4].copy_from_slice(b"EL64");
    x86(&mut facts).boot_params = Some(running);
    let mapping = EfiMapping { kind: 5, phys: 0x1000, virt: 0x2000, pages: 1, attribute: 15 };
    x86(&mut facts).efi = Some(Efi {
        fw_vendor: 0x3fe0_0000,
        runtime: 0,
        config_table: 0x3fe1_0000,
        smbios: 0,
        runtime_map: vec![mapping; 3],
    });
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let request = bzimage_request(Target::Crash, &image);
    let with_efi = plan(&request, &facts).unwrap();
    assert_sound(&with_efi, &request, &facts);
    assert!(!with_efi.command_line.contains("acpi_rsdp"), "{}", with_efi.command_line);
    let params = segment(&with_efi, What::BootParams);
    assert_eq!(u64::from(u32_at(&params.data, 0x1d0)), params.address + 4096);
    assert_eq!(u32_at(&params.data, 0x1d4), 120);
    let setup_data = u64_at(&params.data, 0x250);
    assert_eq!(setup_data, params.address + 4096 + 120);
    assert_eq!(u32_at(&params.data, 4096 + 120 + 8), 4);

    let options = Options { efi: false, ..Options::default() };
    let without = plan(&Request { options, ..request.clone() }, &facts).unwrap();
    assert!(without.command_line.contains("acpi_rsdp=0xf5ad0"));
    assert_eq!(u32_at(&segment(&without, What::BootParams).data, 0x1c0), 0);
    let file = Header { xloadflags: 0x6f, ..USUAL }.file();
    let image = BzImage::parse(&file).unwrap();
    let cannot = plan(&bzimage_request(Target::Crash, &image), &facts).unwrap();
    assert!(cannot.command_line.contains("acpi_rsdp=0xf5ad0"));
}

#[test]
fn a_device_tree_is_setup_data() {
    let mut tree = DeviceTree::default();
    tree.root.children.push(Node::new("chosen"));
    let flattened = tree.write(0).unwrap();
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let options = Options { device_tree: Some(tree), ..Options::default() };
    let request = Request { options, ..bzimage_request(Target::Reboot, &image) };
    let facts = facts();
    let plan = plan(&request, &facts).unwrap();
    assert_sound(&plan, &request, &facts);
    let params = segment(&plan, What::BootParams);
    assert_eq!(u64_at(&params.data, 0x250), params.address + 4096);
    assert_eq!(u32_at(&params.data, 4096 + 8), 2, "SETUP_DTB");
    assert_eq!(u32_at(&params.data, 4096 + 12) as usize, flattened.len());
    assert_eq!(params.data[4096 + 16..][..flattened.len()], flattened);
}

#[test]
fn without_verification_nothing_is_digested() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let options = Options { verify: false, ..Options::default() };
    let request = Request { options, ..bzimage_request(Target::Crash, &image) };
    let (plan, facts) = (plan(&request, &facts()).unwrap(), facts());
    assert_sound(&plan, &request, &facts);
    assert!(plan.segments.iter().all(|segment| segment.digest.is_none()));
    let flags = u32_at(&params_of(&plan), offset_of!(Params, flags));
    assert_eq!(flags, Flags::BACKUP.bits());
}

#[test]
fn elf_kernels_that_cannot_be_entered_are_refused() {
    let good = vmlinux(&[(0x100_0000, &[1; 64], 64)]);
    let refused = |vmlinux: &Vmlinux<'_>| {
        let kernel = Kernel::Direct { header: None, vmlinux };
        plan(&request(Target::Crash, kernel), &facts()).unwrap_err()
    };
    let arm = Vmlinux { machine: 183, ..good.clone() };
    let wanted = "x86_64 (62, 64 bits) and i386 (3, 32 bits)";
    assert_eq!(refused(&arm), PlanError::Machine { e_machine: 183, bits: 64, wanted });
    let virtual_entry = Vmlinux { entry: 0xffff_ffff_8100_0000, ..good.clone() };
    let message = refused(&virtual_entry).to_string();
    assert!(message.contains("e_entry 0xffffffff81000000"), "{message}");
    let spread = vmlinux(&[(0, &[1; 64], 64), (1 << 40, &[1; 64], 64)]);
    assert!(matches!(refused(&spread), PlanError::Spread { .. }));
    let top = vmlinux(&[(0, &[1; 64], 64), (u64::MAX - 64, &[1; 64], 64)]);
    assert!(matches!(refused(&top), PlanError::Spread { .. }));
}

#[test]
fn a_64_bit_kernel_gets_both_addresses_at_random() {
    const LINKED: u64 = 0xffff_ffff_8100_0000;
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let text = [LINKED.to_le_bytes(), [7; 8]].concat();
    let table: Vec<u8> =
        [0, 0x8100_0000_u32, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let linked = vmlinux(&[(0x100_0000, &text, 0x60_0000)]);
    let vmlinux = Vmlinux { tail: &table, ..linked.clone() };
    let kernel = Kernel::Direct { header: Some(&image), vmlinux: &vmlinux };
    let options = Options { kaslr_seed: Some(SEED), ..Options::default() };
    let request = Request { options, ..request(Target::Reboot, kernel) };
    let facts = facts();
    let random = plan(&request, &facts).unwrap();
    assert_sound(&random, &request, &facts);
    let Bases { physical, virtual_address, fixed } = random.bases.unwrap();
    assert_eq!(fixed, None);
    assert_eq!(segment(&random, What::Kernel).address, physical);
    assert_eq!(u64_at(&params_of(&random), offset_of!(Params, handoff.entry)), physical);
    assert!(physical > 0x100_0000 && physical.is_multiple_of(0x20_0000), "{physical:#x}");
    assert!(virtual_address > LINKED && virtual_address.is_multiple_of(0x20_0000));
    let data = &segment(&random, What::Kernel).data;
    assert_eq!((u64_at(data, 0), u64_at(data, 8)), (virtual_address, 0x0707_0707_0707_0707));

    let bases = |request: &Request<'_>| plan(request, &facts).unwrap().bases;
    let fixed = |fixed| Bases { physical: 0x100_0000, virtual_address: LINKED, fixed: Some(fixed) };
    let nokaslr = Request { command_line: "nokaslr", ..request.clone() };
    assert_eq!(bases(&nokaslr), Some(fixed(Fixed::Nokaslr)));
    assert_sound(&plan(&nokaslr, &facts).unwrap(), &nokaslr, &facts);
    let kernel = Kernel::Direct { header: Some(&image), vmlinux: &linked };
    assert_eq!(bases(&Request { kernel, ..request.clone() }), Some(fixed(Fixed::NoTable)));
    assert_eq!(bases(&Request { target: Target::Crash, ..request.clone() }), None);
    let damaged = Vmlinux { tail: &[1; 8], ..linked.clone() };
    let kernel = Kernel::Direct { header: Some(&image), vmlinux: &damaged };
    let error = plan(&Request { kernel, ..request.clone() }, &facts).unwrap_err();
    assert!(error.to_string().contains("relocation table"), "{error}");
}

fn situation<'a>(image: &'a BzImage<'a>, target: Target) -> Situation<'a> {
    Situation {
        wanted: Wanted::Auto,
        entry_32bit: false,
        target,
        image,
        arch: Arch::X86_64,
        cpu: Cpu::default(),
        no5lvl: false,
        seed: Ok(SEED),
    }
}

const SEED: Seed = Seed { physical: 0x1234_5678_9abc_def0, virtual_64: 0xc0de_c0de_c0de_c0de };

#[test]
fn the_entry_is_chosen_by_target_and_wish() {
    let file = USUAL.file();
    let image = BzImage::parse(&file).unwrap();
    let crash = situation(&image, Target::Crash);
    let reboot = situation(&image, Target::Reboot);
    let direct = Choice { mode: EntryMode::Direct, reason: None };
    assert_eq!(crash.choose(), Ok(direct));
    assert_eq!(reboot.choose(), Ok(direct));
    // Without KASLR only if that is wanted.
    for fixed in [Fixed::NoRandomness, Fixed::MemoryParameter] {
        let seed = Err(fixed);
        let by_bzimage =
            Choice { mode: EntryMode::BzImage64, reason: Some(Obstacle::Kaslr(fixed)) };
        assert_eq!(Situation { seed, ..reboot }.choose(), Ok(by_bzimage));
        assert_eq!(Situation { seed, ..crash }.choose(), Ok(direct));
        assert_eq!(Situation { wanted: Wanted::Direct, seed, ..reboot }.choose(), Ok(direct));
    }
    assert_eq!(Situation { seed: Err(Fixed::Nokaslr), ..reboot }.choose(), Ok(direct));
    let by_32bit = Situation { entry_32bit: true, ..crash }.choose().unwrap();
    assert_eq!(by_32bit.mode, EntryMode::BzImage32);
}

#[test]
fn obstacles_to_the_direct_entry_are_named() {
    let reason_of = |header: Header, arch: Arch, cpu: Cpu| {
        let file = header.file();
        let image = BzImage::parse(&file).unwrap();
        let crash = Situation { arch, cpu, ..situation(&image, Target::Crash) };
        let auto = crash.choose().unwrap();
        let direct = Situation { wanted: Wanted::Direct, ..crash }.choose();
        match auto.reason {
            Some(reason) => assert_eq!(direct.unwrap_err(), reason),
            None => assert_eq!(direct.unwrap(), auto),
        }
        (auto.mode, auto.reason)
    };
    let cpu = Cpu::default();
    let on_x86_64 = |header| reason_of(header, Arch::X86_64, cpu);
    let fixed = Header { relocatable: false, ..USUAL };
    assert_eq!(on_x86_64(fixed), (EntryMode::BzImage64, Some(Obstacle::NotRelocatable)));
    let bare = Header { names_payload: false, ..USUAL };
    assert_eq!(on_x86_64(bare), (EntryMode::BzImage64, Some(Obstacle::NoPayload)));

    // RHEL 6's and Debian 7's: relocatable, with a payload, but without xloadflags.
    let old = Header { version: 0x020a, xloadflags: 0, ..USUAL };
    assert_eq!(on_x86_64(old), (EntryMode::BzImage32, Some(Obstacle::OldProtocol)));

    // A 32-bit kernel is entered directly from either mode, a 64-bit one only from its own.
    assert_eq!(on_x86_64(I386), (EntryMode::Direct, None));
    assert_eq!(reason_of(I386, Arch::I386, cpu), (EntryMode::Direct, None));
    let expected = (EntryMode::BzImage32, Some(Obstacle::Machine32Bit));
    assert_eq!(reason_of(USUAL, Arch::I386, cpu), expected);
    let fixed = Header { relocatable: false, ..I386 };
    assert_eq!(on_x86_64(fixed), (EntryMode::BzImage32, Some(Obstacle::NotRelocatable)));

    let five_level = Cpu { la57: true, ..cpu };
    let on_five_levels = |header| reason_of(header, Arch::X86_64, five_level);
    let four_level = Header { xloadflags: 0x3f, ..USUAL };
    let expected = Some(Obstacle::FiveLevelPaging);
    assert_eq!(on_five_levels(four_level), (EntryMode::BzImage64, expected));
    let older = Header { xloadflags: 0x1f, ..USUAL };
    assert_eq!(on_five_levels(older), (EntryMode::BzImage32, expected));
    assert_eq!(on_five_levels(USUAL), (EntryMode::Direct, None));
    assert_eq!(on_five_levels(I386), (EntryMode::Direct, None));

    let encrypted = Cpu { amd_memory_encryption: true, ..cpu };
    let expected = Some(Obstacle::AmdMemoryEncryption);
    assert_eq!(reason_of(USUAL, Arch::X86_64, encrypted).1, expected);
    let guest = Cpu { tdx_guest: true, ..cpu };
    assert_eq!(reason_of(USUAL, Arch::X86_64, guest).1, Some(Obstacle::TdxGuest));
}

#[test]
fn only_the_decompressor_leaves_five_levels_of_page_tables() {
    let choice = |header: Header, la57| {
        let file = header.file();
        let image = BzImage::parse(&file).unwrap();
        let cpu = Cpu { la57, ..Cpu::default() };
        let situation = Situation { no5lvl: true, cpu, ..situation(&image, Target::Reboot) };
        let Choice { mode, reason } = situation.choose().unwrap();
        (mode, reason)
    };
    let expected = (EntryMode::BzImage64, Some(Obstacle::FourLevelsWanted));
    assert_eq!(choice(USUAL, true), expected);
    assert_eq!(choice(USUAL, false), (EntryMode::Direct, None));
    assert_eq!(choice(I386, true), (EntryMode::Direct, None));
}
