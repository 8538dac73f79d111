//! Instructions that were written must reach the memory that instructions are fetched from
//! (Power ISA 3.0B book II 1.8).

use core::arch::asm;

/// No POWER CPU has shorter cache blocks.
const BLOCK: usize = 32;

/// Makes `length` bytes at `address`, written as data, ready to be executed.
pub fn make_executable(address: u64, length: u64) {
    let blocks = (address..address + length).step_by(BLOCK).chain([address + length - 1]);
    for block in blocks {
        // SAFETY: these instructions change no register and no byte of memory.
        unsafe {
            asm!("dcbst 0, {0}", "sync", "icbi 0, {0}", in(reg) block,
                options(nostack, preserves_flags));
        }
    }
    // SAFETY: as above.
    unsafe { asm!("sync", "isync", options(nostack, preserves_flags)) }
}
