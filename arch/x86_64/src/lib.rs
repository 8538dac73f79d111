//! The bare-metal purgatory for x86_64: from the dead kernel's jump to the next kernel's first
//! instruction. What 64-bit mode has to itself is here: the entry (`main.rs` and `entry.S`, the
//! image), the page tables, and the ways out.
//!
//! The image is built for `x86_64-unknown-none`, whose soft-float ABI keeps the compiler from
//! using any FP or vector register.
#![no_std]
#![cfg(target_arch = "x86_64")]

mod handoff;
mod paging;

use purgatory::params::{Handoff, HandoffMode};
use purgatory_x86::Mode;

pub use handoff::Entry;

/// 64-bit mode, on the identity map that the dead kernel left.
pub struct Long;

impl Mode for Long {
    type Entry = Entry;

    fn entry(mode: HandoffMode) -> Option<Entry> {
        match mode {
            HandoffMode::X86Long => Some(Entry::Long),
            HandoffMode::X86Protected => Some(Entry::Protected),
            HandoffMode::Ppc64 => None,
        }
    }

    fn is_mapped(address: u64) -> bool {
        paging::is_mapped(address)
    }

    unsafe fn enter(entry: Entry, handoff: &Handoff) -> ! {
        // SAFETY: the caller's.
        unsafe { handoff::enter(entry, handoff) }
    }
}
