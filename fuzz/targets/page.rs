//! A compressed page: decompressed it has the size of a page, or an error.
#![no_main]

use capture::format::page::Decompressor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (flags, data) = input;
    let mut page = vec![0; 4096];
    let _ = Decompressor::default().decompress(flags.into(), data, &mut page);
});
