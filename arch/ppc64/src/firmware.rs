//! RTAS and OPAL, as far as purgatory calls them.
//!
//! Where they are stands in the parameter block. A damaged block is not believed in anything, but
//! resetting the machine takes firmware, and without it there would only be waiting for ever: so
//! what looks like an address of firmware is tried.

use purgatory::params;
use spin::Once;

use crate::cpu;

/// OPAL is called with tokens (skiboot include/opal-api.h).
const OPAL_CONSOLE_WRITE: u64 = 1;
const OPAL_CEC_REBOOT: u64 = 6;
const OPAL_POLL_EVENTS: u64 = 10;
const OPAL_CONSOLE_FLUSH: u64 = 117;

/// OPAL's call was carried out.
pub const OPAL_SUCCESS: i64 = 0;
/// It was not, for now: OPAL wants to be polled first.
const OPAL_BUSY: i64 = -2;
const OPAL_BUSY_EVENT: i64 = -12;

/// No firmware is larger.
const SIZE_MAX: u64 = 64 << 20;

unsafe extern "C" {
    fn purgatory_opal_call(a: u64, b: u64, c: u64, token: u64, base: u64, entry: u64) -> i64;
    fn purgatory_rtas_last_call(arguments: *mut [u32; 4], base: u64, entry: u64) -> !;
}

static FIRMWARE: Once<params::Firmware> = Once::new();

/// Says where the firmware is, before any of the rest is used.
pub fn remember(firmware: &params::Firmware) {
    FIRMWARE.call_once(|| *firmware);
}

/// OPAL, on a machine that has it.
#[derive(Clone, Copy)]
pub struct Opal {
    base: u64,
    entry: u64,
}

impl Opal {
    /// OPAL, if this is bare metal and the block tells where it is.
    pub fn find() -> Option<Self> {
        let firmware = FIRMWARE.get().filter(|_| cpu::is_hypervisor())?;
        let (base, entry) = (firmware.opal_base, firmware.opal_entry);
        is_entry(base, entry).then_some(Self { base, entry })
    }

    /// Shows `text` on a terminal: OPAL's status, and how many bytes it took.
    pub fn write(self, terminal: u64, text: &[u8]) -> (i64, usize) {
        let mut length = (text.len() as u64).to_be();
        // OPAL gets both as numbers: exposed, so that the compiler knows of a reader and a writer.
        let length_at = (&raw mut length).expose_provenance();
        let text_at = text.as_ptr().expose_provenance();
        let status = self.call(OPAL_CONSOLE_WRITE, [terminal, length_at as u64, text_at as u64]);
        // SAFETY: a local variable. Volatile, because OPAL wrote it.
        let length = u64::from_be(unsafe { (&raw const length).read_volatile() });
        (status, usize::try_from(length).unwrap_or(text.len()).min(text.len()))
    }

    /// Lets OPAL work on what it has taken.
    pub fn poll(self, terminal: u64) {
        self.call(OPAL_CONSOLE_FLUSH, [terminal, 0, 0]);
        self.call(OPAL_POLL_EVENTS, [0; 3]);
    }

    /// Resets the machine: OPAL does it while it is polled.
    fn reboot(self) -> ! {
        let mut status = OPAL_BUSY;
        loop {
            if [OPAL_BUSY, OPAL_BUSY_EVENT].contains(&status) {
                status = self.call(OPAL_CEC_REBOOT, [0; 3]);
            }
            self.call(OPAL_POLL_EVENTS, [0; 3]);
        }
    }

    fn call(self, token: u64, [a, b, c]: [u64; 3]) -> i64 {
        // SAFETY: `find` looked at the addresses; with an intact block they are the device tree's.
        // OPAL keeps to its own memory and what the call names.
        unsafe { purgatory_opal_call(a, b, c, token, self.base, self.entry) }
    }
}

/// Resets the machine, if there is firmware to do it.
pub fn reset() {
    if let Some(opal) = Opal::find() {
        opal.reboot();
    }
    let Some(firmware) = FIRMWARE.get() else { return };
    let (base, entry) = (firmware.rtas_base, firmware.rtas_entry);
    // Token, no arguments, one result (PAPR+ 7.2.6), and the result.
    let mut arguments = [firmware.system_reboot.to_be(), 0, 1_u32.to_be(), 0];
    let arguments = &raw mut arguments;
    if is_entry(base, entry) && [arguments.addr() as u64, entry].iter().all(|&it| it < 1 << 32) {
        // SAFETY: the addresses were looked at; with an intact block they are the device tree's.
        // The image, and so its stack, is below 4 GiB. Nothing comes after it.
        unsafe { purgatory_rtas_last_call(arguments, base, entry) }
    }
}

/// Whether there is firmware at `base` that can be entered at `entry`.
fn is_entry(base: u64, entry: u64) -> bool {
    entry != 0 && entry.is_multiple_of(4) && entry.checked_sub(base).is_some_and(|it| it < SIZE_MAX)
}
