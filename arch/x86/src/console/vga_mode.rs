//! Puts a VGA back into its text mode 3 (80 by 25, 9 by 16 pixels, 16 colours at 0xb8000).
//!
//! It programs the standard registers only. The font in plane 2 and the palette stay as they
//! are: enough where the dead kernel left a VGA graphics mode or had moved the text window, not
//! where a driver has switched the card to a mode of its own that standard registers do not
//! reach.

use crate::port::Port;

/// Miscellaneous output: colour addresses, 28 MHz, 400 lines.
const MISCELLANEOUS: u8 = 0x67;
const SEQUENCER: [u8; 5] = [0x03, 0x00, 0x03, 0x00, 0x02];
const CRTC: [u8; 25] = [
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00,
    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
];
const GRAPHICS: [u8; 9] = [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff];
const ATTRIBUTE: [u8; 21] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
    0x0c, 0x00, 0x0f, 0x08, 0x00,
];
/// Attribute index bit that lets the palette show again.
const ATTRIBUTE_SHOW: u8 = 0x20;
/// CRTC register whose bit 7 protects registers 0 to 7.
const CRTC_PROTECT: u8 = 0x11;

/// Programs mode 3.
pub fn set_text() {
    // SAFETY: these are the VGA's ports; it does not touch main memory.
    let port = |number| unsafe { Port::new(number) };
    port(0x3c2).write(MISCELLANEOUS);
    write_indexed(port(0x3c4), port(0x3c5), &SEQUENCER);
    port(0x3d4).write(CRTC_PROTECT);
    port(0x3d5).write(CRTC[CRTC_PROTECT as usize] & 0x7f);
    write_indexed(port(0x3d4), port(0x3d5), &CRTC);
    write_indexed(port(0x3ce), port(0x3cf), &GRAPHICS);

    // The attribute controller takes index and value at one port; reading 0x3da says that an
    // index comes next.
    port(0x3da).read();
    write_indexed(port(0x3c0), port(0x3c0), &ATTRIBUTE);
    port(0x3c0).write(ATTRIBUTE_SHOW);
}

fn write_indexed(index: Port, value: Port, values: &[u8]) {
    for (number, &register) in (0..).zip(values) {
        index.write(number);
        value.write(register);
    }
}
