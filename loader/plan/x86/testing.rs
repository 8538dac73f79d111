//! PCs, kernels for them, and what must hold of every plan, for the tests of this module.

use alloc::{borrow::Cow, string::String, vec, vec::Vec};
use core::mem::offset_of;

use purgatory::params::Params;

use crate::facts::x86::{Cpu, MemoryKind, MemoryRange};
use crate::facts::{Arch, Facts, Note, Platform, X86};
use crate::image::{self, BzImage, Load, Vmlinux};
use crate::plan::soundness;
use crate::plan::testing::{params_of, segment, u32_at, u64_at};
use crate::plan::{Kernel, Options, Plan, Request, Target, What};
use crate::range::PhysRange;

/// The crash kernel's memory of [`facts`].
pub const CRASH: PhysRange = PhysRange::new(0x3000_0000, 0x3800_0000);

/// A 1 GiB machine with 128 MiB reserved for a crash kernel.
pub fn facts() -> Facts {
    let entry = |start, end, kind| MemoryRange { range: PhysRange::new(start, end), kind };
    let map = vec![
        entry(0, 0x9fc00, MemoryKind::Ram),
        entry(0x9fc00, 0xa_0000, MemoryKind::Reserved),
        entry(0x10_0000, 0x3ff0_0000, MemoryKind::Ram),
        entry(0x3ff0_0000, 0x3ff8_0000, MemoryKind::AcpiTables),
        entry(0x3ff8_0000, 0x4000_0000, MemoryKind::AcpiNvs),
        entry(0xfeff_c000, 0x1_0000_0000, MemoryKind::Reserved),
    ];
    Facts {
        arch: Arch::X86_64,
        system_ram: vec![PhysRange::new(0x1000, 0x9fc00), PhysRange::new(0x10_0000, 0x3ff0_0000)],
        crash_ranges: vec![CRASH],
        crash_cma_ranges: Vec::new(),
        cpu_notes: vec![Note { address: 0x3f00_0000, size: 0x164 }; 4],
        vmcoreinfo: Some(Note { address: 0x200_0000, size: 0x1024 }),
        kernel_text: None,
        page_offset: Some(0xffff_8880_0000_0000),
        linear_map_end: None,
        command_line: String::new(),
        crash_elfcorehdr_size: None,
        platform: Platform::X86(X86 {
            cpu: Cpu::default(),
            firmware_map: map.clone(),
            iomem: map,
            boot_params: None,
            efi: None,
            acpi_rsdp: Some(0xf_5ad0),
        }),
    }
}

/// The part of a PC's facts that only a PC has.
pub fn x86(facts: &mut Facts) -> &mut X86 {
    match &mut facts.platform {
        Platform::X86(x86) => x86,
        Platform::Ppc64(_) => panic!("these tests are about PCs"),
    }
}

/// Fields of a synthetic bzImage's setup header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub version: u16,
    pub xloadflags: u16,
    pub relocatable: bool,
    pub alignment: u32,
    pub pref_address: u64,
    pub init_size: u32,
    pub initrd_addr_max: u32,
    pub cmdline_size: u32,
    pub payload_size: u16,
    pub names_payload: bool,
}

/// What an x86_64 distribution kernel says.
pub const USUAL: Header = Header {
    version: 0x020f,
    xloadflags: 0x7f,
    relocatable: true,
    alignment: 0x20_0000,
    pref_address: 0x100_0000,
    init_size: 0x80_0000,
    initrd_addr_max: 0x7fff_ffff,
    cmdline_size: 2047,
    payload_size: 9000,
    names_payload: true,
};

impl Header {
    /// A bzImage file with this header.
    pub fn file(&self) -> Vec<u8> {
        let payload: Vec<u8> = (1..=253).cycle().take(self.payload_size.into()).collect();
        let mut file = image::testing::bzimage(&payload);
        let mut field = |offset, bytes: &[u8]| image::testing::put(&mut file, offset, bytes);
        field(0x206, &self.version.to_le_bytes());
        field(0x211, &[0x03]); // LOADED_HIGH, and a KASLR_FLAG that must not be passed on
        field(0x22c, &self.initrd_addr_max.to_le_bytes());
        field(0x230, &self.alignment.to_le_bytes());
        field(0x234, &[self.relocatable.into()]);
        field(0x236, &self.xloadflags.to_le_bytes());
        field(0x238, &self.cmdline_size.to_le_bytes());
        if !self.names_payload {
            field(0x24c, &[0; 4]);
        }
        field(0x258, &self.pref_address.to_le_bytes());
        field(0x260, &self.init_size.to_le_bytes());
        file
    }
}

/// The same machine with a 32-bit kernel.
pub fn facts_i386() -> Facts {
    Facts {
        arch: Arch::I386,
        page_offset: Some(0xc000_0000),
        linear_map_end: Some(0x37fe_0000),
        crash_ranges: vec![CRASH_I386],
        ..facts()
    }
}

/// The crash kernel's memory of [`facts_i386`]: in the low 512 MiB.
pub const CRASH_I386: PhysRange = PhysRange::new(0x1800_0000, 0x2000_0000);

/// What a Debian 686-pae kernel says.
pub const I386: Header = Header { xloadflags: 4, alignment: 0x100_0000, ..USUAL };

/// An x86_64 kernel of these PT_LOADs (address, bytes, size in memory), entered at the first.
pub fn vmlinux<'a>(loads: &[(u64, &'a [u8], u64)]) -> Vmlinux<'a> {
    elf(loads, 0xffff_ffff_8000_0000, 0x20_0000)
}

/// An i386 kernel with `relocations` behind it.
pub fn vmlinux_i386<'a>(loads: &[(u64, &'a [u8], u64)], relocations: &'a [u8]) -> Vmlinux<'a> {
    Vmlinux { machine: 3, is_64: false, tail: relocations, ..elf(loads, 0xc000_0000, 0x1000) }
}

fn elf<'a>(loads: &[(u64, &'a [u8], u64)], page_offset: u64, p_align: u64) -> Vmlinux<'a> {
    let load = |&(p_paddr, data, p_memsz): &(u64, &'a [u8], u64)| Load {
        data: Cow::Borrowed(data),
        p_paddr,
        p_vaddr: p_paddr.wrapping_add(page_offset),
        p_memsz,
        p_align,
        flags: 7,
    };
    Vmlinux {
        entry: loads[0].0,
        machine: 62,
        is_64: true,
        is_little_endian: true,
        loads: loads.iter().map(load).collect(),
        tail: &[],
    }
}

/// A request with the usual options.
pub fn request<'a>(target: Target, kernel: Kernel<'a>) -> Request<'a> {
    Request {
        target,
        kernel,
        initrd: None,
        command_line: "console=ttyS0",
        options: Options::default(),
    }
}

/// A request through a bzImage's 64-bit entry.
pub fn bzimage_request<'a>(target: Target, image: &'a BzImage<'a>) -> Request<'a> {
    request(target, Kernel::BzImage { image, entry_32bit: false })
}

/// Plans with the test purgatory.
pub fn plan<'a>(request: &Request<'a>, facts: &Facts) -> Result<Plan<'a>, crate::plan::PlanError> {
    let purgatory = linker::test_image();
    let purgatory = linker::Image::parse(&purgatory).expect("the test image is well-formed");
    crate::plan::plan(request, facts, &purgatory)
}

/// What kexec_load refuses, and what would break the next kernel silently.
pub fn assert_sound(plan: &Plan<'_>, request: &Request<'_>, facts: &Facts) {
    let legal = match request.target {
        Target::Crash => vec![*facts.crash_ranges.iter().max().unwrap()],
        Target::Reboot => {
            let mut facts = facts.clone();
            let ram = self::x86(&mut facts)
                .firmware_map
                .iter()
                .filter(|entry| entry.kind == MemoryKind::Ram);
            ram.map(|entry| entry.range).collect()
        }
    };
    soundness::assert_sound(plan, request, &legal, 4096);
    if request.target == Target::Crash {
        soundness::assert_dump(plan, facts);
    }
    assert_boot_params(plan, request);
}

/// boot_params point to what was loaded.
fn assert_boot_params(plan: &Plan<'_>, request: &Request<'_>) {
    let params = params_of(plan);
    let boot_params = segment(plan, What::BootParams);
    let rsi = offset_of!(Params, handoff.registers) + 8 * purgatory::params::x86::RSI;
    assert_eq!(u64_at(&params, rsi), boot_params.address);
    let joined = |low, high| {
        u64::from(u32_at(&boot_params.data, low)) | u64::from(u32_at(&boot_params.data, high)) << 32
    };
    let line = segment(plan, What::CommandLine);
    assert_eq!(joined(0x228, 0xc8), line.address);
    assert_eq!(*line.data, *[plan.command_line.as_bytes(), b"\0"].concat());
    match request.initrd {
        Some(initrd) => {
            let segment = segment(plan, What::Initrd);
            assert_eq!(joined(0x218, 0xc0), segment.address);
            assert_eq!(joined(0x21c, 0xc4), initrd.len() as u64);
            assert_eq!(*segment.data, *initrd);
        }
        None => assert_eq!((joined(0x218, 0xc0), joined(0x21c, 0xc4)), (0, 0)),
    }
    assert_eq!(boot_params.data[0x1ef], 0);
    // The kernel believes that its address is random if and only if it is.
    let is_random = plan.bases.is_some_and(|bases| bases.fixed.is_none());
    assert_eq!(boot_params.data[0x211] & 2 != 0, is_random);
}
