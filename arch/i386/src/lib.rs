//! The bare-metal purgatory for 32-bit x86: what protected mode without paging has to itself.
//! The entry is `main.rs` and `entry.S`, the image; all else it shares with x86_64.
//!
//! The image is built for `i586-unknown-linux-gnu`, for which the compiler uses no instruction
//! that a Pentium lacks; none of the libraries of that target is linked.
#![no_std]
#![cfg(target_arch = "x86")]

use core::arch::asm;

use purgatory::params::{Handoff, HandoffMode};
use purgatory_x86::Mode;

unsafe extern "C" {
    /// arch/x86/src/handoff.S: takes the address of a [`Handoff`] in edi.
    fn purgatory_handoff_flat() -> !;
}

/// 32-bit protected mode, paging off.
pub struct Protected;

impl Mode for Protected {
    /// There is one way out.
    type Entry = ();

    fn entry(mode: HandoffMode) -> Option<()> {
        match mode {
            HandoffMode::X86Protected => Some(()),
            HandoffMode::X86Long | HandoffMode::Ppc64 => None,
        }
    }

    /// Without paging everything below 4 GiB can be read.
    fn is_mapped(_address: u64) -> bool {
        true
    }

    unsafe fn enter((): (), handoff: &Handoff) -> ! {
        // SAFETY: the caller's; entry.S has loaded the GDT that it needs.
        unsafe {
            asm!("jmp {flat}", flat = sym purgatory_handoff_flat, in("edi") handoff,
                options(noreturn));
        }
    }
}
