//! Turns a purgatory image (a static PIE) and a parameter block into bytes for one physical
//! address: read, place, relocate, fill.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
