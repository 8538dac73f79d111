//! /proc/kcore alone: the kernel's mappings and its VMCOREINFO.
#![no_main]

use fuzz::tree;
use libfuzzer_sys::fuzz_target;
use purgatorio::facts::Arch;
use purgatorio::machine::{Sysroot, read_facts};

const REST: &[u8] = b"@@proc/cmdline\n@@proc/iomem\n00001000-7fffffff : System RAM\n  01000000-01ffffff : Kernel code\n";

fuzz_target!(|kcore: &[u8]| {
    let folder = tree::folder(REST, &["proc/cmdline", "proc/iomem"]);
    tree::write(&folder.join("proc/kcore"), kcore);
    for arch in [Arch::X86_64, Arch::I386] {
        let _ = read_facts(&Sysroot::at(folder), arch);
    }
});
