//! powernv's UART: `stbcix` to its data register behind the LPC bus of chip 0 (POWER9, POWER10).
//!
//! OPAL is the only one that stores there: skiboot's `out_8` is this instruction.

use std::ffi::{c_uint, c_void};

use super::{Hook, power_word};
use crate::api::{ByteOrder, InstructionCallback, Registers};

/// The LPC window of chip 0, in it the I/O space, in it COM1: QEMU hw/ppc/pnv.c and pnv_lpc.c.
const DATA: u64 = 0x0006_0300_0000_0000 + 0xd001_0000 + 0x3f8;

/// For `stbcix`, in either byte order.
pub fn hook(code: [u8; 4]) -> Option<Hook> {
    let (word, order) = power_word(code, is_stbcix)?;
    let callback: InstructionCallback = match order {
        ByteOrder::Big => big_endian_store,
        ByteOrder::Little => little_endian_store,
    };
    Some(Hook { callback, operands: word as usize })
}

/// Power ISA: primary opcode 31, extended opcode 981.
fn is_stbcix(word: u32) -> bool {
    word >> 26 == 31 && word >> 1 & 0x3ff == 981
}

extern "C" fn big_endian_store(_vcpu: c_uint, operands: *mut c_void) {
    stored(operands.addr(), ByteOrder::Big);
}

extern "C" fn little_endian_store(_vcpu: c_uint, operands: *mut c_void) {
    stored(operands.addr(), ByteOrder::Little);
}

/// `stbcix RS, RA, RB`: the low byte of RS to (RA or 0) + RB.
fn stored(word: usize, order: ByteOrder) {
    crate::sent(|registers| {
        let read = |shift: u32| read(registers, word >> shift & 31, order);
        let base = if word >> 16 & 31 == 0 { 0 } else { read(16) };
        // The four top bits of a real-mode address are not part of it.
        let address = base.wrapping_add(read(11)) & (u64::MAX >> 4);
        (address == DATA).then(|| read(21).to_le_bytes()[0])
    });
}

fn read(registers: &Registers, number: usize, order: ByteOrder) -> u64 {
    registers.read(&[&format!("r{number}")], order)
}
