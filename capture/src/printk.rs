//! The dead kernel's log, from its memory.

mod log_buf;
mod ringbuffer;

use std::io::{self, Write};

use crate::address::{self, KernelMemory};
use crate::vmcore::InfoError;

/// Why the log cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Memory of the log cannot be read.
    #[error("cannot read the dead kernel's log")]
    Memory(#[from] address::Error),
    /// The kernel does not say where its log is or how it is laid out.
    #[error("cannot find the dead kernel's log")]
    Info(#[from] InfoError),
    /// The log's own description makes no sense.
    #[error("the dead kernel's log is damaged: its {what} is {value:#x}")]
    Damaged {
        /// The member.
        what: &'static str,
        /// What it has.
        value: u64,
    },
    /// The log cannot be written.
    #[error("cannot write the dead kernel's log")]
    Write(#[from] io::Error),
}

/// Writes the log as `dmesg` shows it, and returns the number of records.
///
/// Kernels from 5.10 have a lockless ring buffer, those from 3.5 a buffer of records.
pub fn write_log(memory: &mut KernelMemory<'_>, out: &mut impl Write) -> Result<u64, Error> {
    if memory.headers().info.has_symbol("prb") {
        ringbuffer::write_log(memory, out)
    } else {
        log_buf::write_log(memory, out)
    }
}

/// Takes bytes of a log until there is no more room, and forgets the others.
#[derive(Debug)]
pub struct Bounded {
    /// What was taken.
    pub text: Vec<u8>,
    most: usize,
}

impl Bounded {
    /// With room for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { text: Vec::new(), most }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.most.saturating_sub(self.text.len());
        self.text.extend(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a record; each of its lines gets the time. Control characters, which could do things to
/// a terminal, are written as `\xNN`.
fn write_record(out: &mut impl Write, nanoseconds: u64, text: &[u8]) -> io::Result<()> {
    let microseconds = nanoseconds / 1000;
    for line in text.split(|byte| *byte == b'\n') {
        write!(out, "[{:5}.{:06}] ", microseconds / 1_000_000, microseconds % 1_000_000)?;
        for byte in line {
            match byte {
                b'\t' => out.write_all(b"\t")?,
                0..0x20 | 0x7f => write!(out, "\\x{byte:02x}")?,
                _ => out.write_all(&[*byte])?,
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
