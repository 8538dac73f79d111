//! I/O ports.

use core::arch::asm;

/// One 8-bit I/O port.
#[derive(Clone, Copy, Debug)]
pub struct Port(u16);

impl Port {
    /// The port with this number.
    ///
    /// # Safety
    ///
    /// The code runs with I/O privilege, and what stands at the port is a device that reading
    /// and writing cannot make change memory that Rust code uses.
    pub const unsafe fn new(number: u16) -> Self {
        Self(number)
    }

    /// Reads a byte; 0xff where there is no device.
    pub fn read(self) -> u8 {
        let value;
        // SAFETY: `new`'s caller vouched for the port; `in` touches nothing but al.
        unsafe {
            asm!("in al, dx", in("dx") self.0, out("al") value,
                options(nomem, nostack, preserves_flags));
        }
        value
    }

    /// Writes a byte.
    pub fn write(self, value: u8) {
        // SAFETY: `new`'s caller vouched for the port; `out` changes no register or memory.
        unsafe {
            asm!("out dx, al", in("dx") self.0, in("al") value,
                options(nomem, nostack, preserves_flags));
        }
    }
}
