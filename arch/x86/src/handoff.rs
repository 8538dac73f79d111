//! The jump into the next kernel in 32-bit protected mode.

use core::arch::global_asm;
use core::mem::offset_of;

use purgatory::params::{Handoff, x86};

global_asm!(
    include_str!("handoff.S"),
    ENTRY = const offset_of!(Handoff, entry),
    EAX = const register(x86::RAX),
    EBX = const register(x86::RBX),
    ECX = const register(x86::RCX),
    EDX = const register(x86::RDX),
    ESI = const register(x86::RSI),
    EDI = const register(x86::RDI),
    EBP = const register(x86::RBP),
    ESP = const register(x86::RSP),
    LONG_MODE = const cfg!(target_arch = "x86_64") as u8,
);

/// Offset in [`Handoff`] of a register's content.
pub const fn register(index: usize) -> usize {
    offset_of!(Handoff, registers) + 8 * index
}
