//! Plans for machines and kernels that nobody thought of.

use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::testing::{
    M, assert_sound, dtb, facts, facts_of, head, plan, request, tree, usable, vmlinux,
};
use crate::facts::{Arch, Ppc64};
use crate::fdt::{Cells, DeviceTree};
use crate::plan::{Options, Request, Target};
use crate::range::{self, PhysRange};

/// Memory in any blocks, in memory nodes and logical memory blocks.
fn any_tree() -> impl Strategy<Value = DeviceTree> {
    let mib = |range| PhysRange::new(u64::from(range) * M, u64::from(range) * M + 1);
    let place = (0_u32..4096).prop_map(mib).prop_map(|range| range.start);
    let nodes = prop::collection::vec((place.clone(), 1_u64..3000), 0..6);
    let blocks = prop::collection::vec((0_u32..64, any::<bool>()), 0..20);
    let firmware = (place.clone(), 1_u64..0x80_0000);
    let crash = (place, 1_u64..1500);
    let odd = (any::<bool>(), 0_u64..200);
    (256_u64..3000, nodes, blocks, firmware, crash, odd).prop_map(
        |(first, nodes, blocks, (rtas, rtas_size), (crash, crash_size), (fixed, kernel_end))| {
            let mut tree = tree();
            let cells = Cells::below(&tree.root).unwrap();
            let mut set_memory = |name: &str, range| {
                let node = tree.root.child_or_new(name);
                node.set_string("device_type", "memory");
                node.set("reg", cells.encode(&[range]));
            };
            set_memory("memory@0", PhysRange::new(0, first * M));
            for (index, (start, size)) in nodes.into_iter().enumerate() {
                let name = alloc::format!("memory@{index:x}00000001");
                set_memory(&name, PhysRange::new(start, start + size * M));
            }
            let node = tree.root.child_or_new("ibm,dynamic-reconfiguration-memory");
            node.set_u64("ibm,lmb-size", 64 * M);
            let mut value = u32::try_from(blocks.len()).unwrap().to_be_bytes().to_vec();
            for (block, assigned) in blocks {
                value.extend((u64::from(block) * 64 * M).to_be_bytes());
                value.extend([0; 12]);
                value.extend(if assigned { 8_u32 } else { 0 }.to_be_bytes());
            }
            node.set("ibm,dynamic-memory", value);
            let node = tree.root.child_or_new("rtas");
            node.set_u64("linux,rtas-base", rtas);
            node.set_u64("rtas-size", rtas_size);
            let node = tree.root.child_or_new("chosen");
            // Where the kernel itself would reserve it, or anywhere.
            let crash = if fixed { 256 * M } else { crash };
            node.set_u64("linux,crashkernel-base", crash);
            node.set_u64("linux,crashkernel-size", crash_size * M);
            node.set_u64("linux,kernel-end", kernel_end * M);
            tree
        },
    )
}

/// Every property that the loader reads, in the tree of a machine with plugged-in memory.
const READ: [(&str, &str); 28] = [
    ("/", "#address-cells"),
    ("/", "#size-cells"),
    ("/", "reserved-ranges"),
    ("/memory@0", "device_type"),
    ("/memory@0", "linux,usable-memory"),
    ("/memory@0", "reg"),
    ("/memory@0", "status"),
    (DRCONF, "ibm,lmb-size"),
    (DRCONF, "ibm,dynamic-memory"),
    (DRCONF, "ibm,dynamic-memory-v2"),
    (DRCONF, "linux,drconf-usable-memory"),
    ("/rtas", "linux,rtas-base"),
    ("/rtas", "linux,rtas-entry"),
    ("/rtas", "rtas-size"),
    ("/rtas", "system-reboot"),
    ("/ibm,opal", "opal-base-address"),
    ("/ibm,opal", "opal-entry-address"),
    ("/ibm,opal", "opal-runtime-size"),
    ("/chosen", "linux,crashkernel-base"),
    ("/chosen", "linux,crashkernel-size"),
    ("/chosen", "linux,htab-base"),
    ("/chosen", "linux,htab-size"),
    ("/chosen", "linux,initrd-end"),
    ("/chosen", "linux,initrd-start"),
    ("/chosen", "linux,kernel-end"),
    ("/chosen", "linux,memory-limit"),
    ("/chosen", "linux,stdout-path"),
    ("/cpus/PowerPC,POWER9@0", "ibm,ppc-interrupt-server#s"),
];
const DRCONF: &str = "/ibm,dynamic-reconfiguration-memory";

/// A value of any length, with the numbers that are at a limit.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let cell = prop_oneof![
        prop::sample::select(vec![0, 1, 2, 3, 8, 0x1000_0000, 0x8000_0000, u32::MAX]),
        any::<u32>(),
    ];
    let cells = prop::collection::vec(cell, 0..10);
    (cells, prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(cells, odd)| {
        let cells = cells.into_iter().flat_map(u32::to_be_bytes);
        cells.chain(odd).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Damage gives an error, or a plan that the damage has nothing to do with.
    #[test]
    fn a_damaged_tree_gives_an_answer(
        good in any_tree(),
        damage in prop::collection::vec((prop::sample::select(&READ[..]), any_value()), 1..4),
    ) {
        let mut tree = good.clone();
        for ((path, property), value) in damage {
            if path == "/ibm,opal" {
                tree.root.child_or_new("ibm,opal");
            }
            tree.node_mut(path).expect("the tree has the node").set(property, value);
        }
        let content = head(true);
        let kernel = vmlinux(&content, 40 * M, true);
        for target in [Target::Crash, Target::Reboot] {
            let options = Options { hotplug: true, ..Options::default() };
            let mut request = Request { options, ..request(target, &kernel) };
            if let Ok(machine) = Ppc64::new(tree.clone()) {
                let facts = facts_of(Arch::Ppc64le, machine);
                if let Ok(plan) = plan(&request, &facts) {
                    assert_sound(&plan, &request, &facts);
                }
            }
            // The same tree from a file.
            request.options.device_tree = Some(tree.clone());
            let _ = plan(&request, &facts(Arch::Ppc64le, good.clone()));
        }
    }

    /// Whatever the machine and the kernel say, there is an error or a sound plan.
    #[test]
    fn plans_are_sound(
        tree in any_tree(),
        data in 0x100_usize..0x2_0000,
        bss in 0_u64..100_000_000,
        initrd in prop::option::of(1_usize..100_000),
        mem_min in 0_u64..0x1000_0000,
        mem_max in prop::sample::select(vec![0x4000_0000, 0x1_0000_0000, u64::MAX]),
        hotplug in any::<bool>(),
        verify in any::<bool>(),
    ) {
        let mut content = head(true);
        content.resize(data.max(0x100), 0x5a);
        let kernel = vmlinux(&content, content.len() as u64 + bss, true);
        let facts = facts(Arch::Ppc64le, tree);
        let initrd = initrd.map(|length| vec![0x5a; length]);
        for target in [Target::Crash, Target::Reboot] {
            let options = Options { mem_min, mem_max, hotplug, verify, ..Options::default() };
            let request = Request {
                initrd: initrd.as_deref(),
                options,
                ..request(target, &kernel)
            };
            let Ok(plan) = plan(&request, &facts) else { continue };
            assert_sound(&plan, &request, &facts);
            if target == Target::Crash {
                // What the dead kernel used is not the capture kernel's to use.
                let mine: Vec<_> = facts
                    .crash_ranges
                    .iter()
                    .copied()
                    .chain([PhysRange::new(0, 64 << 10)])
                    .collect();
                let tree = dtb(&plan);
                prop_assert_eq!(range::subtract(&usable(&tree), &mine), vec![]);
            }
        }
    }
}
