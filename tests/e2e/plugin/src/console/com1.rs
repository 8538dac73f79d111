//! A PC's first serial port: `out %al, (%dx)` to its data register.

use std::ffi::{c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Hook;
use crate::api::ByteOrder;

/// The port of the data register, and of the baud rate while the divisor latch is open.
const DATA: u64 = 0x3f8;
/// The port of the line control register.
const LINE_CONTROL: u64 = 0x3fb;
/// In it: opens the divisor latch.
const DIVISOR_LATCH: u8 = 1 << 7;

static LATCH_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// For `out %al, (%dx)`: 0xee, also behind an operand-size or REX.W prefix, which change nothing.
pub fn hook(code: &[u8]) -> Option<Hook> {
    matches!(code, [0xee] | [0x66 | 0x48, 0xee]).then_some(Hook { callback: out, operands: 0 })
}

extern "C" fn out(_vcpu: c_uint, _operands: *mut c_void) {
    crate::sent(|registers| {
        // qemu-system-i386 has only the 32-bit names.
        let read = |names| registers.read(names, ByteOrder::Little);
        let port = read(&["rdx", "edx"]) & 0xffff;
        let byte = || read(&["rax", "eax"]).to_le_bytes()[0];
        if port == LINE_CONTROL {
            LATCH_IS_OPEN.store(byte() & DIVISOR_LATCH != 0, Ordering::Relaxed);
        }
        (port == DATA && !LATCH_IS_OPEN.load(Ordering::Relaxed)).then(byte)
    });
}
