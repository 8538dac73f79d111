//! A terminal of OPAL.

use crate::firmware::{OPAL_SUCCESS, Opal};

/// Calls (each some microseconds) until a terminal that takes nothing counts as dead. A buffer
/// takes 1.4 ms at 115,200 baud.
const CALLS: u32 = 100_000;

/// One terminal.
pub struct OpalTerminal {
    opal: Opal,
    number: u64,
    /// Calls to make for one buffer: [`CALLS`], or 0 once the terminal let a buffer wait too long.
    calls: u32,
}

impl OpalTerminal {
    /// The terminal with this number.
    pub fn new(opal: Opal, number: u64) -> Self {
        Self { opal, number, calls: CALLS }
    }

    /// Shows `text`. A terminal that does not take it in time is not asked again: a console that
    /// is stuck must not hold up the dump.
    pub fn put(&mut self, text: &[u8]) {
        let mut rest = text;
        for _ in 0..self.calls {
            let (status, taken) = self.opal.write(self.number, rest);
            if status == OPAL_SUCCESS {
                rest = &rest[taken..];
            }
            self.opal.poll(self.number);
            if rest.is_empty() {
                return;
            }
        }
        self.calls = 0;
    }
}
