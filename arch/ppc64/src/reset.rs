//! The ends that are not a handoff.

use crate::{cpu, firmware};

/// Resets the machine, or stops if it has no firmware that could.
pub fn reset() -> ! {
    firmware::reset();
    halt()
}

/// Stops for good; the console keeps what was said.
pub fn halt() -> ! {
    loop {
        cpu::very_low_priority();
    }
}
