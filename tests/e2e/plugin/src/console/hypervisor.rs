//! A terminal of the hypervisor: `sc 1` with H_PUT_TERM_CHAR (PAPR, "H_PUT_TERM_CHAR").
//!
//! The terminal's number, in r4, is not looked at: the guests have one. QEMU never answers that
//! the terminal is busy, so no call is repeated. RTAS's display-character goes to the same terminal
//! and is not seen: the kernel greets by it once, before its console driver starts.

use std::ffi::{c_uint, c_void};

use super::{Hook, power_word};
use crate::api::{ByteOrder, InstructionCallback};

/// `sc 1`: asks the hypervisor.
const SC_1: u32 = 0x4400_0022;
/// In r3: what is asked.
const H_PUT_TERM_CHAR: u64 = 0x58;

/// For `sc 1`, in either byte order.
pub fn hook(code: [u8; 4]) -> Option<Hook> {
    let (_, order) = power_word(code, |word| word == SC_1)?;
    let callback: InstructionCallback = match order {
        ByteOrder::Big => big_endian_call,
        ByteOrder::Little => little_endian_call,
    };
    Some(Hook { callback, operands: 0 })
}

extern "C" fn big_endian_call(_vcpu: c_uint, _operands: *mut c_void) {
    called(ByteOrder::Big);
}

extern "C" fn little_endian_call(_vcpu: c_uint, _operands: *mut c_void) {
    called(ByteOrder::Little);
}

/// r5 is the number of characters, at most 16; r6 and r7 hold them, the first in the most
/// significant byte.
fn called(order: ByteOrder) {
    crate::sent(|registers| {
        let read = |name| registers.read(&[name], order);
        let length = match read("r3") {
            H_PUT_TERM_CHAR => usize::try_from(read("r5")).unwrap_or(usize::MAX),
            _another_call => 0,
        };
        ["r6", "r7"].map(|name| read(name).to_be_bytes()).concat().into_iter().take(length)
    });
}
