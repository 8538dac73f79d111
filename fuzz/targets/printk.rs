//! The log in a hostile core's memory.
#![no_main]

use std::io;

use capture::address::KernelMemory;
use capture::printk::write_log;
use fuzz::{HostileFile, core};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = HostileFile::new(file);
    let Some(core) = core::open(&file) else { return };
    let Ok(mut memory) = KernelMemory::new(&core) else { return };
    let _ = write_log(&mut memory, &mut io::sink());
});
