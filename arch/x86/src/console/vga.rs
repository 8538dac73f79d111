//! VGA text memory, written like a teletype: on the last row, scrolling up what the dead kernel
//! left.

/// Text memory of a colour VGA: one character and its attribute per cell.
const MEMORY: u64 = 0xb8000;
const COLUMNS: usize = 80;
const ROWS: usize = 25;
const LAST_ROW: usize = (ROWS - 1) * COLUMNS;
/// Light grey on black.
const ATTRIBUTE: u16 = 0x0700;

/// The screen, 80 by 25.
pub struct Vga {
    column: usize,
}

impl Vga {
    /// The screen, if its memory is mapped, on a new last row.
    pub fn open(is_mapped: fn(u64) -> bool) -> Option<Self> {
        let mut vga = is_mapped(MEMORY).then_some(Self { column: 0 })?;
        vga.new_row();
        Some(vga)
    }

    /// Shows one byte; `\n` starts a new row.
    pub fn put_byte(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\n' => self.new_row(),
            _ => {
                if self.column == COLUMNS {
                    self.new_row();
                }
                write(LAST_ROW + self.column, ATTRIBUTE | u16::from(byte));
                self.column += 1;
            }
        }
    }

    fn new_row(&mut self) {
        self.column = 0;
        for cell in 0..LAST_ROW {
            write(cell, read(cell + COLUMNS));
        }
        for cell in LAST_ROW..LAST_ROW + COLUMNS {
            write(cell, ATTRIBUTE | u16::from(b' '));
        }
    }
}

fn cell(index: usize) -> *mut u16 {
    assert!(index < ROWS * COLUMNS);
    (MEMORY as *mut u16).wrapping_add(index)
}

fn read(index: usize) -> u16 {
    // SAFETY: `cell` keeps to the screen, which `open` found mapped; no Rust object is there.
    unsafe { cell(index).read_volatile() }
}

fn write(index: usize, value: u16) {
    // SAFETY: as for `read`.
    unsafe { cell(index).write_volatile(value) }
}
