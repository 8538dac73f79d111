//! Machines, kernels for them, and what must hold of every plan, for the tests of this module.

use alloc::{boxed::Box, string::String, vec, vec::Vec};
use core::mem::offset_of;

use purgatory::params::{Params, ppc64};

use crate::facts::ppc64::{PAGE_OFFSET, memory_blocks};
use crate::facts::{Arch, Facts, Note, Platform, Ppc64};
use crate::fdt::DeviceTree;
use crate::image::{Load, Vmlinux};
use crate::plan::ppc64::PAGE;
use crate::plan::soundness;
use crate::plan::testing::{params_of, segment, u64_at};
use crate::plan::{Kernel, Options, Plan, PlanError, Request, Target, What};
use crate::range::{self, PhysRange};

pub const M: u64 = 1 << 20;
/// The crash kernel's memory of [`tree`].
pub const CRASH: PhysRange = PhysRange::new(512 * M, 768 * M);
/// RTAS of [`tree`]: not whole pages.
pub const RTAS: PhysRange = PhysRange::new(0x2fff_0000, 0x2fff_083c);
/// End of the running kernel of [`tree`].
pub const KERNEL_END: u64 = 0x288_0000;

/// The device tree of a pseries machine with 2 GiB, of which 256 MiB are reserved for a crash
/// kernel.
pub fn tree() -> DeviceTree {
    let mut tree = DeviceTree::default();
    tree.root.set("#address-cells", 2_u32.to_be_bytes());
    tree.root.set("#size-cells", 2_u32.to_be_bytes());
    let memory = tree.root.child_or_new("memory@0");
    memory.set_string("device_type", "memory");
    memory.set("reg", [0_u64.to_be_bytes(), (2048 * M).to_be_bytes()].as_flattened());
    let cpus = tree.root.child_or_new("cpus");
    for name in ["PowerPC,POWER9@0", "PowerPC,POWER9@8"] {
        let cpu = cpus.child_or_new(name);
        cpu.set_string("device_type", "cpu");
        cpu.set_string("name", "PowerPC,POWER9");
        cpu.set("ibm,ppc-interrupt-server#s", [0; 8]);
    }
    let rtas = tree.root.child_or_new("rtas");
    rtas.set("linux,rtas-base", 0x2fff_0000_u32.to_be_bytes());
    rtas.set("linux,rtas-entry", 0x2fff_0000_u32.to_be_bytes());
    rtas.set("rtas-size", 0x83c_u32.to_be_bytes());
    rtas.set("system-reboot", 0x2004_u32.to_be_bytes());
    let chosen = tree.root.child_or_new("chosen");
    chosen.set_string("bootargs", "root=/dev/sda2 crashkernel=256M");
    chosen.set_u64("linux,kernel-end", KERNEL_END);
    chosen.set_u64("linux,memory-limit", 0);
    chosen.set_u64("linux,crashkernel-base", CRASH.start);
    chosen.set_u64("linux,crashkernel-size", CRASH.len());
    chosen.set_u64("linux,initrd-start", 64 * M);
    chosen.set_u64("linux,initrd-end", 70 * M + 5);
    tree
}

/// The machine with this device tree.
pub fn facts(arch: Arch, tree: DeviceTree) -> Facts {
    facts_of(arch, Ppc64::new(tree).expect("the tree describes a machine"))
}

/// This machine.
pub fn facts_of(arch: Arch, machine: Ppc64) -> Facts {
    Facts {
        arch,
        system_ram: machine.system_ram(),
        crash_ranges: machine.crash_kernel.into_iter().collect(),
        crash_cma_ranges: Vec::new(),
        cpu_notes: vec![Note { address: 0x7000_0000, size: 0x200 }; 8],
        vmcoreinfo: Some(Note { address: 0x40a_0000, size: 0x1_0024 }),
        kernel_text: None,
        page_offset: Some(PAGE_OFFSET),
        linear_map_end: None,
        command_line: String::new(),
        crash_elfcorehdr_size: None,
        platform: Platform::Ppc64(Box::new(machine)),
    }
}

/// The first bytes of a relocatable kernel.
pub fn head(is_little_endian: bool) -> Vec<u8> {
    let mut head: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let word = if is_little_endian { *b"0nur" } else { *b"run0" };
    head[0x5c..0x60].copy_from_slice(&word);
    head
}

/// A kernel with this content, linked at 0, that takes `memsz` bytes.
pub fn vmlinux(data: &[u8], memsz: u64, is_little_endian: bool) -> Vmlinux<'_> {
    let load = Load {
        data: data.into(),
        p_paddr: 0,
        p_vaddr: PAGE_OFFSET,
        p_memsz: memsz,
        p_align: PAGE,
        flags: 7,
    };
    Vmlinux {
        entry: PAGE_OFFSET,
        machine: 21,
        is_64: true,
        is_little_endian,
        loads: vec![load],
        tail: &[],
    }
}

/// A request with the usual options.
pub fn request<'a>(target: Target, vmlinux: &'a Vmlinux<'a>) -> Request<'a> {
    Request {
        target,
        kernel: Kernel::Direct { header: None, vmlinux },
        initrd: None,
        command_line: "console=hvc0",
        options: Options::default(),
    }
}

/// Plans with the test purgatory.
pub fn plan<'a>(request: &Request<'a>, facts: &Facts) -> Result<Plan<'a>, PlanError> {
    let purgatory = linker::test_image();
    let purgatory = linker::Image::parse(&purgatory).expect("the test image is well-formed");
    crate::plan::plan(request, facts, &purgatory)
}

/// The new device tree.
pub fn dtb(plan: &Plan<'_>) -> DeviceTree {
    DeviceTree::parse(&segment(plan, What::Dtb).data).expect("a flattened tree")
}

/// Memory that the new kernel takes for its own by its device tree.
pub fn usable(tree: &DeviceTree) -> Vec<PhysRange> {
    let mut usable = memory_blocks(tree).unwrap();
    range::normalize(&mut usable);
    range::subtract(&usable, &tree.reservations)
}

/// What kexec_load refuses, and what would break the next kernel silently.
pub fn assert_sound(plan: &Plan<'_>, request: &Request<'_>, facts: &Facts) {
    let Platform::Ppc64(machine) = &facts.platform else { panic!("another machine") };
    let legal = match request.target {
        Target::Crash => facts.crash_ranges.clone(),
        Target::Reboot => {
            range::subtract(&machine.memory, &[PhysRange::new(0, machine.kernel.end)])
        }
    };
    let legal = range::intersect(&legal, &[machine.rma]);
    soundness::assert_sound(plan, request, &legal, PAGE);
    if request.target == Target::Crash {
        soundness::assert_dump(plan, facts);
    }
    for segment in &plan.segments {
        for occupied in machine.occupied() {
            assert!(!segment.range().overlaps(&occupied), "{} is in {occupied}", segment.what);
        }
    }
    assert_handoff(plan);
    assert_tree(plan, request);
}

/// Purgatory passes the device tree and the kernel.
fn assert_handoff(plan: &Plan<'_>) {
    let params = params_of(plan);
    let register = |n| u64_at(&params, offset_of!(Params, handoff.registers) + 8 * n);
    assert_eq!(register(ppc64::R3), segment(plan, What::Dtb).address);
    let kernel = plan.segments.iter().find(|segment| segment.what == What::Kernel).unwrap();
    assert_eq!((register(ppc64::R4), register(ppc64::R5)), (kernel.address, 0));
}

/// The tree leads to what was loaded, and the new kernel leaves it alone.
fn assert_tree(plan: &Plan<'_>, request: &Request<'_>) {
    let tree = dtb(plan);
    let chosen = tree.node("/chosen").unwrap();
    assert_eq!(chosen.string("bootargs"), Ok(Some(&*plan.command_line)));
    assert_eq!(chosen.property("linux,booted-from-kexec"), Some(&[][..]));
    if let Some(initrd) = request.initrd {
        let segment = segment(plan, What::Initrd);
        assert_eq!(chosen.number("linux,initrd-start"), Ok(Some(segment.address)));
        let end = segment.address + initrd.len() as u64;
        assert_eq!(chosen.number("linux,initrd-end"), Ok(Some(end)));
    }
    let usable = usable(&tree);
    for segment in &plan.segments {
        let overlap = range::intersect(&usable, &[loaded(segment, request)]);
        match segment.what {
            // The kernel reserves itself; nobody needs purgatory any more.
            What::Kernel | What::Purgatory => {}
            What::Initrd | What::Elfcorehdr | What::Backup | What::Dtb => {
                assert_eq!(overlap, [], "{} may be overwritten", segment.what);
            }
            What::BootParams | What::CommandLine | What::Modules | What::BootInformation => {
                panic!("this is for PCs")
            }
        }
    }
}

fn loaded(segment: &crate::plan::Segment<'_>, request: &Request<'_>) -> PhysRange {
    match (segment.what, request.initrd) {
        (What::Initrd, Some(initrd)) => {
            PhysRange::new(segment.address, segment.address + initrd.len() as u64)
        }
        _ => segment.range(),
    }
}
