//! Memory by its address: 0, where the dead kernel's vectors start, is no valid pointer in Rust.

use core::arch::global_asm;

global_asm!(include_str!("memory.S"), options(raw));

unsafe extern "C" {
    fn purgatory_copy(destination: u64, source: u64, length: u64);
    fn purgatory_zero(destination: u64, length: u64);
}

/// Copies `length` bytes.
///
/// # Safety
///
/// The source can be read; the destination does not overlap it, and no Rust object is there.
pub unsafe fn copy(destination: u64, source: u64, length: u64) {
    // SAFETY: the caller's.
    unsafe { purgatory_copy(destination, source, length) }
}

/// Clears `length` bytes.
///
/// # Safety
///
/// No Rust object is there.
pub unsafe fn zero(address: u64, length: u64) {
    // SAFETY: the caller's.
    unsafe { purgatory_zero(address, length) }
}
