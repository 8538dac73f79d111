//! /proc/iomem alone. RAM is in order, no part of it twice.
#![no_main]

use fuzz::tree;
use libfuzzer_sys::fuzz_target;
use purgatorio::facts::Arch;
use purgatorio::machine::{Sysroot, read_facts};

fuzz_target!(|iomem: &[u8]| {
    let folder = tree::folder(b"@@proc/cmdline\n", &["proc/cmdline"]);
    tree::write(&folder.join("proc/iomem"), iomem);
    if let Ok(facts) = read_facts(&Sysroot::at(folder), Arch::X86_64) {
        for pair in facts.system_ram.windows(2) {
            assert!(pair[0].end <= pair[1].start);
        }
    }
});
