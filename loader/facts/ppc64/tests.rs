//! Facts out of a device tree that is like a small machine's.

use alloc::string::ToString;
use alloc::vec;

use super::*;

const M: u64 = 1 << 20;

/// The smallest pseries machine: 1 GiB in two nodes, RTAS, a crash kernel's memory, a terminal.
fn pseries() -> DeviceTree {
    let mut tree = DeviceTree::default();
    tree.root.set("#address-cells", 2_u32.to_be_bytes());
    tree.root.set("#size-cells", 2_u32.to_be_bytes());
    for (name, start) in [("memory@20000000", 512 * M), ("memory@0", 0)] {
        let node = tree.root.child_or_new(name);
        node.set_string("device_type", "memory");
        node.set("reg", [start.to_be_bytes(), (512 * M).to_be_bytes()].as_flattened());
    }
    let rtas = tree.root.child_or_new("rtas");
    rtas.set("linux,rtas-base", 0x2fff_0000_u32.to_be_bytes());
    rtas.set("linux,rtas-entry", 0x2fff_0010_u32.to_be_bytes());
    rtas.set("rtas-size", 0x83c_u32.to_be_bytes());
    rtas.set("system-reboot", 0x2004_u32.to_be_bytes());
    for (name, unit) in [("vty@71000000", 0x7100_0000_u32), ("vty@71000001", 0x7100_0001)] {
        let vty = tree.root.child_or_new("vdevice").child_or_new(name);
        vty.set_string("compatible", "hvterm1");
        vty.set("reg", unit.to_be_bytes());
    }
    let chosen = tree.root.child_or_new("chosen");
    chosen.set_u64("linux,kernel-end", 0x288_0000);
    chosen.set_u64("linux,memory-limit", 0);
    chosen.set_u64("linux,crashkernel-base", 256 * M);
    chosen.set_u64("linux,crashkernel-size", 128 * M);
    chosen.set_string("linux,stdout-path", "/vdevice/vty@71000001");
    tree
}

#[test]
fn a_pseries_machine() {
    let facts = Ppc64::new(pseries()).unwrap();
    assert_eq!(facts.memory, [PhysRange::new(0, 1024 * M)]);
    assert_eq!(facts.rma, PhysRange::new(0, 512 * M), "the first block, not joined ones");
    assert_eq!(facts.crash_kernel, Some(PhysRange::new(256 * M, 384 * M)));
    assert_eq!((facts.memory_limit, facts.hash_table, facts.initrd), (None, None, None));
    let rtas = Rtas {
        range: PhysRange::new(0x2fff_0000, 0x2fff_083c),
        entry: 0x2fff_0010,
        system_reboot: Some(0x2004),
    };
    assert_eq!((facts.rtas, facts.opal), (Some(rtas), None));
    assert_eq!(facts.terminal, Some(Terminal::Hypervisor(0x7100_0001)));
    assert_eq!(facts.occupied(), [rtas.range]);
}

#[test]
fn a_powernv_machine() {
    let mut tree = pseries();
    tree.root.children.retain(|node| node.name != "rtas" && node.name != "vdevice");
    tree.root.set("reserved-ranges", [M.to_be_bytes(), M.to_be_bytes()].as_flattened());
    let opal = tree.root.child_or_new("ibm,opal");
    opal.set_u64("opal-base-address", 0x3000_0000);
    opal.set_u64("opal-entry-address", 0x3000_0300);
    opal.set_u64("opal-runtime-size", 0x100_0000);
    let serial = opal.child_or_new("consoles").child_or_new("serial@0");
    serial.set_string("compatible", "ibm,opal-console-raw");
    serial.set("reg", 0_u32.to_be_bytes());
    let bridge = tree.root.child_or_new("pciex@600c3c0000000");
    bridge.set_string("device_type", "pci");
    bridge.set_u64("linux,tce-base", 64 * M);
    bridge.set("linux,tce-size", 0x10_0000_u32.to_be_bytes());

    let facts = Ppc64::new(tree).unwrap();
    let opal = Opal { range: PhysRange::new(0x3000_0000, 0x3100_0000), entry: 0x3000_0300 };
    assert_eq!((facts.opal, facts.rtas), (Some(opal), None));
    assert_eq!(facts.rma.end, u64::MAX, "no hypervisor limits real mode");
    assert_eq!(facts.terminal, Some(Terminal::Opal(0)));
    assert_eq!(facts.tce_tables, [PhysRange::new(64 * M, 65 * M)]);
    assert_eq!(
        facts.occupied(),
        [opal.range, PhysRange::new(64 * M, 65 * M), PhysRange::new(M, 2 * M)]
    );
}

#[test]
fn what_may_be_missing_is_not_an_error_but_the_kernel_s_end_is() {
    let mut tree = pseries();
    tree.root.children.retain(|node| node.name != "rtas");
    let chosen = tree.node_mut("/chosen").unwrap();
    chosen.remove("linux,crashkernel-base");
    // A screen: the first terminal is taken.
    chosen.set_string("linux,stdout-path", "/pci@800000020000000/vga@0");
    let facts = Ppc64::new(tree.clone()).unwrap();
    assert_eq!((facts.rtas, facts.crash_kernel), (None, None));
    assert_eq!(facts.terminal, Some(Terminal::Hypervisor(0x7100_0000)));

    tree.node_mut("/chosen").unwrap().remove("linux,kernel-end");
    let error = Ppc64::new(tree.clone()).unwrap_err();
    assert!(error.to_string().contains("linux,kernel-end"), "{error}");
    tree.root.children.retain(|node| node.base_name() != "memory");
    assert_eq!(Ppc64::new(tree), Err(TreeError::NoMemory));
}

#[test]
fn a_memory_limit_cuts_the_ram_that_is_dumped() {
    let mut tree = pseries();
    let chosen = tree.node_mut("/chosen").unwrap();
    chosen.set_u64("linux,memory-limit", 700 * M);
    chosen.set_u64("linux,initrd-start", 40 * M);
    chosen.set("linux,initrd-end", (50_u32 << 20).to_be_bytes());
    let facts = Ppc64::new(tree).unwrap();
    assert_eq!(facts.system_ram(), vec![PhysRange::new(0, 700 * M)]);
    assert_eq!(facts.initrd, Some(PhysRange::new(40 * M, 50 * M)));
}
