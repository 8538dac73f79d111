//! The jump into the next kernel.

use core::arch::global_asm;
use core::mem::offset_of;

use purgatory::params::{Handoff, x86};
use purgatory_x86::handoff::register;

global_asm!(
    include_str!("handoff.S"),
    ENTRY = const offset_of!(Handoff, entry),
    RAX = const register(x86::RAX),
    RBX = const register(x86::RBX),
    RCX = const register(x86::RCX),
    RDX = const register(x86::RDX),
    RSI = const register(x86::RSI),
    RDI = const register(x86::RDI),
    RBP = const register(x86::RBP),
    RSP = const register(x86::RSP),
);

unsafe extern "C" {
    fn purgatory_handoff_long(handoff: *const Handoff) -> !;
    fn purgatory_handoff_protected(handoff: *const Handoff) -> !;
}

/// How the next kernel is entered: the modes of [`HandoffMode`](purgatory::params::HandoffMode)
/// that this machine has.
#[derive(Clone, Copy)]
pub enum Entry {
    /// [`X86Long`](purgatory::params::HandoffMode::X86Long)
    Long,
    /// [`X86Protected`](purgatory::params::HandoffMode::X86Protected)
    Protected,
}

/// Enters the next kernel.
///
/// # Safety
///
/// `handoff` is what the loader decided on: a kernel is at its entry that may do with the
/// machine what it wants. For [`Entry::Protected`] the image, and the stack that
/// `handoff` names, lie below 4 GiB: the loader places purgatory there.
pub unsafe fn enter(entry: Entry, handoff: &Handoff) -> ! {
    // SAFETY: the caller's.
    unsafe {
        match entry {
            Entry::Long => purgatory_handoff_long(handoff),
            Entry::Protected => purgatory_handoff_protected(handoff),
        }
    }
}
