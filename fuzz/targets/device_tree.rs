//! A flattened device tree, and a POWER machine's facts in it. What was read and is written again
//! reads the same; RAM is in order, no part of it twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purgatorio::facts::Ppc64;
use purgatorio::fdt::DeviceTree;

fuzz_target!(|blob: &[u8]| {
    let Ok(tree) = DeviceTree::parse(blob) else { return };
    let written = tree.write(0).expect("it was read from no more");
    assert_eq!(DeviceTree::parse(&written).expect("what was written"), tree);
    let Ok(facts) = Ppc64::new(tree) else { return };
    for pair in facts.system_ram().windows(2) {
        assert!(pair[0].end <= pair[1].start);
    }
    let _ = facts.occupied();
});
