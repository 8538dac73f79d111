//! The node `chosen` of a device tree: what a kernel is told by whoever starts it (kernel 6.1
//! drivers/of/fdt.c, `early_init_dt_scan_chosen`; Documentation/devicetree/bindings/chosen).

use crate::fdt::DeviceTree;
use crate::range::PhysRange;

/// What it is told.
pub struct Chosen<'c> {
    /// The command line.
    pub command_line: &'c str,
    /// Where the initrd is.
    pub initrd: Option<PhysRange>,
    /// Randomness for its generator.
    pub rng_seed: Option<[u8; 32]>,
}

/// What only the boot before was to know: where its initrd and core headers were, its random
/// numbers.
const STALE: [&str; 6] = [
    "kaslr-seed",
    "linux,elfcorehdr",
    "linux,initrd-end",
    "linux,initrd-start",
    "linux,usable-memory-range",
    "rng-seed",
];

/// Makes the node say this and nothing left over.
pub fn set(tree: &mut DeviceTree, chosen: &Chosen<'_>) {
    let node = tree.root.child_or_new("chosen");
    for property in STALE {
        node.remove(property);
    }
    node.set_string("bootargs", chosen.command_line);
    if let Some(initrd) = chosen.initrd {
        node.set_u64("linux,initrd-start", initrd.start);
        node.set_u64("linux,initrd-end", initrd.end);
    }
    if let Some(seed) = chosen.rng_seed {
        node.set("rng-seed", seed);
    }
    node.set("linux,booted-from-kexec", []);
}
