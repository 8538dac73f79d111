//! A kernel file: bzImage, vmlinux, zImage, Multiboot, UKI. What was taken out of it lies within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purgatorio::image::{Image, Relocations, wrapper};

fuzz_target!(|file: &[u8]| {
    if let Some(range) = wrapper::payload(file) {
        assert!(range.start <= range.end && range.end <= file.len());
    }
    let Ok(Image::Vmlinux(vmlinux)) = Image::detect(file) else { return };
    for load in &vmlinux.loads {
        assert!(load.data.len() as u64 <= load.p_memsz && load.p_memsz > 0);
        assert!(load.p_paddr.checked_add(load.p_memsz).is_some());
        assert!(vmlinux.range().contains(&load.range()));
    }
    let _ = Relocations::parse(vmlinux.tail, vmlinux.is_64);
});
