//! Plans for machines and kernels that nobody thought of.

use alloc::{vec, vec::Vec};
use core::mem::offset_of;

use proptest::prelude::*;
use purgatory::params::{Params, Span};

use super::kaslr::{Bases, Seed};
use super::testing::{
    Header, I386, USUAL, assert_sound, facts, facts_i386, plan, request, vmlinux, vmlinux_i386, x86,
};
use crate::facts::Facts;
use crate::facts::x86::{MemoryKind, MemoryRange};
use crate::image::{BzImage, Vmlinux};
use crate::plan::soundness::index;
use crate::plan::testing::{params_of, segment, u32_at, u64_at, zero_of};
use crate::plan::{Kernel, Options, Plan, Request, Target, What};
use crate::range::{self, PhysRange};

/// Any firmware's memory map, RAM and other kinds side by side or on top of each other; of some
/// machines in thousands of pieces.
fn any_map() -> impl Strategy<Value = Vec<MemoryRange>> {
    let kinds = prop::sample::select(vec![
        MemoryKind::Ram,
        MemoryKind::Ram,
        MemoryKind::Reserved,
        MemoryKind::AcpiTables,
    ]);
    let entry = (0_u64..0x1_8000, 1_u64..0x2_0000, 0_u64..4096, kinds).prop_map(
        |(page, pages, odd, kind)| MemoryRange {
            range: PhysRange::new((page << 16) + odd, (page << 16) + odd + (pages << 12)),
            kind,
        },
    );
    let few = prop::collection::vec(entry.clone(), 1..200);
    let thousands = prop::collection::vec(entry, 1000..4000);
    prop_oneof![15 => few, 1 => thousands]
}

fn ranges_of(map: &[MemoryRange], wanted: fn(MemoryKind) -> bool) -> Vec<PhysRange> {
    map.iter().filter(|entry| wanted(entry.kind)).map(|entry| entry.range).collect()
}

fn any_header() -> impl Strategy<Value = Header> {
    (
        prop::bits::u16::between(1, 7),
        prop::sample::select(vec![0x1000, 0x20_0000, 0x100_0000]),
        0_u64..0x4000,
        0_u32..0x400_0000,
        any::<u32>(),
        1_u16..30_000,
    )
        .prop_map(|(flags, alignment, pref_page, init_size, initrd_addr_max, payload_size)| {
            Header {
                xloadflags: flags | 1,
                alignment,
                pref_address: pref_page << 12,
                init_size,
                initrd_addr_max,
                payload_size,
                ..USUAL
            }
        })
}

/// What a kernel reads that cannot be above 4 GiB is not there.
fn assert_low(plan: &Plan<'_>, request: &Request<'_>, header: &Header) {
    for segment in &plan.segments {
        match segment.what {
            // Only purgatory and a running capture kernel get there.
            What::Backup | What::Elfcorehdr => {}
            What::Dtb => panic!("a PC has none"),
            What::Modules | What::BootInformation => panic!("Linux has none"),
            What::Initrd => {
                let length = request.initrd.map_or(0, <[u8]>::len) as u64;
                let last = segment.address + length - 1;
                assert!(last <= header.initrd_addr_max.into());
                assert!(last < 1 << 32);
            }
            What::Kernel | What::BootParams | What::CommandLine | What::Purgatory => {
                assert!(segment.range().end <= 1 << 32, "{}", segment.what);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the machine and the kernel say, there is an error or a sound plan.
    #[test]
    fn bzimage_plans_are_sound(
        header in any_header(),
        map in any_map(),
        crash in prop::option::of((0_u64..0x20_0000, 1_u64..0x2_0000)),
        initrd in prop::option::of(1_usize..100_000),
        mem_min in 0_u64..0x1000_0000,
        mem_max in prop::sample::select(vec![0x4000_0000, 0x1_0000_0000, u64::MAX]),
        entry_32bit in any::<bool>(),
        verify in any::<bool>(),
        hotplug in any::<bool>(),
    ) {
        let file = header.file();
        let image = BzImage::parse(&file).unwrap();
        let crash_ranges: Vec<_> = crash
            .iter()
            .map(|&(page, pages)| PhysRange::new(page << 12, (page + pages) << 12))
            .collect();
        let mut facts = Facts {
            system_ram: ranges_of(&map, |kind| kind == MemoryKind::Ram),
            crash_ranges,
            ..facts()
        };
        x86(&mut facts).firmware_map = map.clone();
        x86(&mut facts).iomem = map.clone();
        let initrd = initrd.map(|length| vec![0x5a; length]);
        let options = Options {
            mem_min,
            mem_max,
            verify,
            hotplug,
            rng_seed: Some([1; 32]),
            ..Options::default()
        };
        for target in [Target::Crash, Target::Reboot] {
            let request = Request {
                target,
                kernel: Kernel::BzImage { image: &image, entry_32bit },
                initrd: initrd.as_deref(),
                command_line: "root=/dev/vda1",
                options: options.clone(),
            };
            if let Ok(plan) = plan(&request, &facts) {
                assert_sound(&plan, &request, &facts);
                let kernel = segment(&plan, What::Kernel);
                prop_assert!(kernel.memsz >= header.init_size.into());
                prop_assert!(kernel.address.is_multiple_of(header.alignment.into()));
                prop_assert!(kernel.address >= header.pref_address);
                // Nothing is written over what anybody calls reserved.
                let reserved = ranges_of(&map, |kind| kind != MemoryKind::Ram);
                if target == Target::Reboot {
                    for segment in &plan.segments {
                        let free = range::subtract(&[segment.range()], &reserved);
                        prop_assert_eq!(free, vec![segment.range()]);
                    }
                }
                if header.xloadflags & 2 == 0 || entry_32bit {
                    assert_low(&plan, &request, &header);
                }
            }
        }
    }

    /// The same for ELF kernels of any number of PT_LOADs, and every loaded byte is where the
    /// file says, moved by one distance.
    #[test]
    fn direct_plans_are_sound(
        pieces in prop::collection::vec(
            (0_u64..0x3000, 0_usize..0x2000, 0_usize..0x1000, 1_u64..0x3000),
            1..8,
        ),
        start in 0_u64..0x200_0000,
        target in prop::sample::select(vec![Target::Crash, Target::Reboot]),
        seed in prop::option::of(any::<(u64, u64)>()),
    ) {
        let contents: Vec<Vec<u8>> = pieces
            .iter()
            .map(|&(_, data, zeroes, _)| {
                let mut bytes: Vec<u8> = (1..=255).cycle().take(data).collect();
                bytes.resize(data + zeroes, 0);
                bytes
            })
            .collect();
        let mut loads = Vec::new();
        let mut at = start;
        for (&(gap, .., bss), content) in pieces.iter().zip(&contents) {
            at += gap;
            let memsz = content.len() as u64 + bss;
            loads.push((at, &content[..], memsz));
            at += memsz;
        }
        let file = USUAL.file();
        let image = BzImage::parse(&file).unwrap();
        // No word changes with the address.
        let vmlinux = Vmlinux { tail: &[0; 12], ..vmlinux(&loads) };
        let kernel = Kernel::Direct { header: Some(&image), vmlinux: &vmlinux };
        let kaslr_seed = seed.map(|(physical, virtual_64)| Seed { physical, virtual_64 });
        let options = Options { kaslr_seed, ..Options::default() };
        let (request, facts) = (Request { options, ..request(target, kernel) }, facts());
        let plan = plan(&request, &facts).unwrap();
        assert_sound(&plan, &request, &facts);

        let entry = u64_at(&params_of(&plan), offset_of!(Params, handoff.entry));
        let delta = entry.wrapping_sub(vmlinux.entry);
        prop_assert!(delta.is_multiple_of(0x20_0000));
        if let Some(Bases { physical, virtual_address, fixed: None }) = plan.bases {
            prop_assert_eq!(physical, vmlinux.loads[0].p_paddr.wrapping_add(delta));
            let end = virtual_address + vmlinux.range().len();
            prop_assert!(end <= 0xffff_ffff_8000_0000 + (1 << 30));
            let distance = virtual_address - vmlinux.loads[0].p_vaddr;
            prop_assert!(distance.is_multiple_of(0x20_0000));
        }
        let cleared = zero_of(&params_of(&plan));
        for load in &vmlinux.loads {
            let address = load.p_paddr.wrapping_add(delta);
            let holder = plan.segments.iter().find(|segment| {
                segment.what == What::Kernel
                    && segment.range().contains(&PhysRange::new(address, address + load.p_memsz))
            });
            let holder = holder.expect("each PT_LOAD is in a segment");
            for (offset, byte) in load.data.iter().enumerate() {
                let address = address + offset as u64;
                let loaded = holder.data.get(index(address - holder.address));
                if let Some(loaded) = loaded {
                    prop_assert_eq!(loaded, byte);
                } else {
                    prop_assert_eq!(*byte, 0);
                    let holds = |span: &Span| (span.address..span.address + span.length).contains(&address);
                    prop_assert!(cleared.iter().any(holds));
                }
            }
        }
    }

    /// A 32-bit kernel's words hold, wherever it is put, the moved addresses.
    #[test]
    fn relocated_plans_are_sound(
        words in prop::collection::btree_set(0_u32..0x1000, 1..40),
        zeroes in 0_u64..0x3000,
        alignment in prop::sample::select(vec![0x2000_u32, 0x20_0000, 0x100_0000]),
        crash_page in 0x1000_u64..0x3_8000,
        target in prop::sample::select(vec![Target::Crash, Target::Reboot]),
        physical in prop::option::of(any::<u64>()),
    ) {
        const LINKED: u32 = 0x100_0000;
        const PAGE_OFFSET: u32 = 0xc000_0000;
        let mut text = vec![0_u8; 0x4000];
        let mut table = vec![0_u32];
        for word in &words {
            let address = PAGE_OFFSET + LINKED + 4 * word;
            table.push(address);
            text[index(u64::from(4 * word))..][..4].copy_from_slice(&address.to_le_bytes());
        }
        let table: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
        let memsz = text.len() as u64 + zeroes;
        let vmlinux = vmlinux_i386(&[(LINKED.into(), &text, memsz)], &table);
        let file = Header { alignment, ..I386 }.file();
        let image = BzImage::parse(&file).unwrap();
        let kernel = Kernel::Direct { header: Some(&image), vmlinux: &vmlinux };
        let crash = PhysRange::new(crash_page << 12, (crash_page << 12) + 0x800_0000);
        let facts = Facts { crash_ranges: vec![crash], ..facts_i386() };
        let kaslr_seed = physical.map(|physical| Seed { physical, virtual_64: 0 });
        let options = Options { kaslr_seed, ..Options::default() };
        let request = Request { options, ..request(target, kernel) };
        if let Ok(plan) = plan(&request, &facts) {
            assert_sound(&plan, &request, &facts);
            let kernel = segment(&plan, What::Kernel);
            prop_assert!(kernel.address.is_multiple_of(alignment.into()));
            prop_assert!(kernel.range().end <= 0x3600_0000);
            if let Some(Bases { physical, virtual_address, fixed: None }) = plan.bases {
                prop_assert_eq!(physical, kernel.address);
                prop_assert_eq!(virtual_address, u64::from(PAGE_OFFSET) + physical);
                prop_assert!(physical >= LINKED.into() && kernel.range().end <= 512 << 20);
            }
            for word in words {
                let at = index(u64::from(4 * word));
                let expected = u64::from(PAGE_OFFSET) + kernel.address + u64::from(4 * word);
                prop_assert_eq!(u64::from(u32_at(&kernel.data, at)), expected);
            }
        }
    }
}
