//! Where purgatory's lines go on a PC: an 8250 UART, the VGA's text memory, both, or nowhere.

mod uart;
mod vga;
mod vga_mode;

use purgatory::console::Console;
use purgatory::params::{self, ConsoleFlags};
use spin::Mutex;

use uart::Uart;
use vga::Vga;

/// The console in use. It starts silent.
pub static CONSOLE: Mutex<Devices> = Mutex::new(Devices { uart: None, vga: None });

/// The devices that get every byte.
pub struct Devices {
    uart: Option<Uart>,
    vga: Option<Vga>,
}

impl Devices {
    /// The devices that `wanted` names and that are there; `is_mapped` says whether an address of
    /// theirs can be read.
    pub fn open(wanted: &params::Console, is_mapped: fn(u64) -> bool) -> Self {
        let flags = ConsoleFlags::from_bits_truncate(wanted.flags);
        let uart = flags
            .contains(ConsoleFlags::SERIAL_PORT)
            .then(|| Uart::open(wanted.serial_base, wanted.serial_baud))
            .flatten();
        if flags.contains(ConsoleFlags::RESET_VGA) {
            vga_mode::set_text();
        }
        let vga = flags.contains(ConsoleFlags::VGA_TEXT).then(|| Vga::open(is_mapped)).flatten();
        Self { uart, vga }
    }
}

impl Console for Devices {
    fn put_byte(&mut self, byte: u8) {
        if let Some(uart) = &mut self.uart {
            uart.put_byte(byte);
        }
        if let Some(vga) = &mut self.vga {
            vga.put_byte(byte);
        }
    }
}
