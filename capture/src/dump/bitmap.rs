//! The bitmaps of the format kdump.

use super::Error;
use super::sink::{BUFFER, Growing, Sink};
use super::verify::Region;

/// What reaches the disk as a whole or not at all: file systems build on it too. Pieces of this
/// size, at multiples of it, reach the disk in any order.
const DISK_BLOCK: usize = 4096;

/// A bitmap in the file, written from its beginning to its end.
pub(super) struct Bitmap {
    end: u64,
    bytes: Growing,
    /// Bits that are not to be written yet, in pieces of one block, and where they go in the file.
    kept: Vec<(u64, Vec<u8>)>,
    /// Bytes that they take.
    size_of_kept: usize,
}

impl Bitmap {
    /// An empty one, which begins with a block.
    pub fn new(offset: u64, size: u64) -> Self {
        let bytes = Growing::new(offset);
        Self { end: offset + size, bytes, kept: Vec::new(), size_of_kept: 0 }
    }

    /// Keeps the bits of a window, which are whole bytes, and a part of a block or several blocks;
    /// whether it is time to write them.
    pub fn add(&mut self, first: u64, bits: &[bool]) -> bool {
        let byte =
            |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        let offset = self.bytes.start() + first / 8;
        // The last window may reach further than the bitmap.
        let room = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = bits.chunks(8).take(room).map(byte).collect();
        for (offset, bytes) in (offset..).step_by(DISK_BLOCK).zip(bytes.chunks(DISK_BLOCK)) {
            // What is not written is zero.
            if bytes.iter().any(|byte| *byte != 0) {
                self.size_of_kept += size_of_piece(bytes);
                self.kept.push((offset, bytes.to_vec()));
            }
        }
        self.size_of_kept >= BUFFER
    }

    /// Writes what was kept of the first block that something was kept of; whether there was one.
    pub fn write_block(&mut self, sink: &mut Sink<'_>) -> Result<bool, Error> {
        let block = |(offset, _): &(u64, Vec<u8>)| offset / DISK_BLOCK as u64;
        let Some(first) = self.kept.first().map(block) else { return Ok(false) };
        let count = self.kept.partition_point(|piece| block(piece) == first);
        for (offset, bytes) in self.kept.drain(..count) {
            self.size_of_kept -= size_of_piece(&bytes);
            self.bytes.skip_to(offset, sink)?;
            self.bytes.append(&bytes);
        }
        self.bytes.flush(sink)?;
        Ok(true)
    }

    /// Writes all that was kept.
    pub fn write(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        while self.write_block(sink)? {}
        Ok(())
    }

    /// Writes the rest.
    pub fn finish(mut self, sink: &mut Sink<'_>) -> Result<Region, Error> {
        self.write(sink)?;
        self.bytes.skip_to(self.end, sink)?;
        Ok(self.bytes.region())
    }
}

/// Memory that bits take while they are kept.
fn size_of_piece(bytes: &[u8]) -> usize {
    bytes.len() + size_of::<(u64, Vec<u8>)>()
}
