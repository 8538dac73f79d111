//! Compressed kernels and initrds: no more comes out than was allowed, and no more is taken than is
//! there.
#![no_main]

use fuzz::tree::GROWTH;
use libfuzzer_sys::fuzz_target;
use purgatorio::image::unpack::unpack_stream;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((unpacked, taken)) = unpack_stream(bytes, GROWTH, &mut |_| {}) {
        assert!(unpacked.len() <= GROWTH && taken <= bytes.len());
    }
});
