//! A virtual terminal of the hypervisor.

use crate::hypervisor::{H_SUCCESS, put_term_char};

/// Calls (each some microseconds) until a terminal that takes nothing counts as dead.
const CALLS: u32 = 100_000;

/// One virtual terminal.
pub struct HypervisorTerminal {
    number: u64,
    /// Calls to make for one buffer: [`CALLS`], or 0 once the terminal let a buffer wait too long.
    calls: u32,
}

impl HypervisorTerminal {
    /// The terminal with this unit address.
    pub fn new(number: u64) -> Self {
        Self { number, calls: CALLS }
    }

    /// Shows the first `count` of `bytes`. A terminal that does not take them in time is not
    /// asked again: a console that is stuck must not hold up the dump.
    pub fn put(&mut self, bytes: [u8; 16], count: usize) {
        if !(0..self.calls).any(|_| put_term_char(self.number, bytes, count) == H_SUCCESS) {
            self.calls = 0;
        }
    }
}
