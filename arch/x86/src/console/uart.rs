//! The 8250 UART and its successors, by polling.

use crate::port::Port;

/// Line control: eight data bits, no parity, one stop bit.
const LINE_8N1: u8 = 0x03;
/// Line control: the first two registers are the divisor's.
const LINE_DIVISOR: u8 = 1 << 7;
/// Line status: the transmitter takes a byte.
const STATUS_TRANSMIT_EMPTY: u8 = 1 << 5;
/// What a port without a device reads as. No UART has every status bit set at once.
const NOTHING: u8 = 0xff;
/// The divisor is of this rate.
const BASE_BAUD: u32 = 115_200;

/// Status reads (each about 1 µs on a PC's bus) until a transmitter counts as dead. A byte takes
/// 33 ms at 300 baud.
const POLLS: u32 = 200_000;

/// One UART.
pub struct Uart {
    data: Port,
    status: Port,
    /// Status reads to wait for the transmitter: [`POLLS`], or 0 once it let a byte wait too long.
    polls: u32,
}

impl Uart {
    /// The UART whose first I/O port is `base`, if one answers there. `baud` other than 0 is
    /// programmed, with 8n1 and interrupts off; otherwise it stays as the dead kernel had it.
    pub fn open(base: u64, baud: u32) -> Option<Self> {
        let base = u16::try_from(base).ok()?;
        // Eight registers from `base` on.
        base.checked_add(7)?;
        // SAFETY: the loader says that a UART is there; a UART does not touch memory.
        let register = |number| unsafe { Port::new(base + number) };
        let (data, interrupts, line, status) = (register(0), register(1), register(3), register(5));
        if status.read() == NOTHING {
            return None;
        }
        if let Some(divisor) = BASE_BAUD.checked_div(baud) {
            let [low, high, ..] = divisor.clamp(1, 0xffff).to_le_bytes();
            interrupts.write(0);
            line.write(LINE_8N1 | LINE_DIVISOR);
            data.write(low);
            interrupts.write(high);
            line.write(LINE_8N1);
        }
        Some(Self { data, status, polls: POLLS })
    }

    /// Sends one byte. A transmitter that does not take it in time is not asked again: a console
    /// that is stuck must not hold up the dump.
    pub fn put_byte(&mut self, byte: u8) {
        if (0..self.polls).any(|_| self.status.read() & STATUS_TRANSMIT_EMPTY != 0) {
            self.data.write(byte);
        } else {
            self.polls = 0;
        }
    }
}
