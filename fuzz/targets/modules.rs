//! A kernel's modules: modules.dep and the rest, and the modules themselves.
#![no_main]

use fuzz::tree;
use kdump::modules::{ModuleTree, resolve};
use libfuzzer_sys::fuzz_target;

const FILES: &[&str] =
    &["modules.dep", "modules.builtin", "modules.alias", "a.ko", "b.ko", "c.ko.xz", "d.ko.zst"];

fuzz_target!(|input: &[u8]| {
    if let Ok(tree) = ModuleTree::open(tree::folder(input, FILES)) {
        let _ = resolve(&tree, &["a", "b", "c", "d", "fs-ext4"]);
    }
});
