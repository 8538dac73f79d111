//! The relocation table behind a kernel: moved by nothing, the kernel is what it was.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use purgatorio::image::{Load, Relocations};

fuzz_target!(|input: (bool, u64, u64, u64, Vec<u8>, &[u8])| {
    let (is_64, p_paddr, p_vaddr, distance, data, table) = input;
    let p_memsz = data.len() as u64;
    if p_paddr.checked_add(p_memsz).is_none() {
        return; // Vmlinux::parse refuses it.
    }
    let Ok(relocations) = Relocations::parse(table, is_64) else { return };
    let load = Load { data: Cow::Borrowed(&data), p_paddr, p_vaddr, p_memsz, p_align: 1, flags: 7 };
    let mut loads = [load];
    if relocations.apply(&mut loads, 0).is_ok() {
        assert_eq!(*loads[0].data, *data);
        relocations.apply(&mut loads, distance).expect("the same words");
        assert_eq!(loads[0].data.len(), data.len());
    }
});
