//! Virtual addresses of a hostile core, translated by its page tables.
#![no_main]

use capture::address::{KernelMemory, Virtual};
use fuzz::{HostileFile, core};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u64; 4], &[u8])| {
    let (addresses, file) = input;
    let file = HostileFile::new(file);
    let Some(core) = core::open(&file) else { return };
    let Ok(mut memory) = KernelMemory::new(&core) else { return };
    for address in addresses {
        let _ = memory.read_long(Virtual(address));
        let _ = memory.read(Virtual(address), &mut [0; 5000]);
    }
});
