//! LZ4: the standard frame, and the legacy frame that the kernel's build uses.

use lz4_flex::block::{DecompressError, decompress_into};
use lz4_flex::frame::FrameDecoder;

use super::{Output, Stop, invalid_data, truncated};

/// Begins the legacy frame; in little-endian order 02 21 4c 18.
const LEGACY_MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();

/// A legacy block unpacks to this many bytes; only the last one to fewer.
const LEGACY_BLOCK: usize = 8 << 20;

/// The most bytes that an incompressible block may take (`LZ4_compressBound`).
const LEGACY_BOUND: usize = LEGACY_BLOCK + LEGACY_BLOCK / 255 + 16;

pub(super) fn unpack(input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    match input.strip_prefix(&LEGACY_MAGIC) {
        Some(blocks) => {
            *input = blocks;
            legacy(input, output)
        }
        None => output.read_from(FrameDecoder::new(input)),
    }
}

/// Blocks, each behind its size, up to the end of the data: the frame has no end mark. So it
/// ends with a block that is not full, or where no block's size follows: zeroes are the padding of
/// an initrd (kernel 6.1 lib/decompress_unlz4.c).
fn legacy(input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    while let Some((size, rest)) = input.split_first_chunk() {
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| truncated())?;
        if size == 0 || size > LEGACY_BOUND || is_appended_size(size, rest, output) {
            return Ok(());
        }
        let (block, rest) = rest.split_at_checked(size).ok_or_else(truncated)?;
        let start = output.bytes.len();
        // One byte more than allowed is enough to notice that the limit is exceeded.
        let room = LEGACY_BLOCK.min(output.left().saturating_add(1));
        output.block(room, |room| {
            decompress_into(block, room).map_err(|error| match error {
                DecompressError::OutputTooSmall { .. } if room.len() < LEGACY_BLOCK => Stop::Limit,
                error => invalid_data(error),
            })
        })?;
        *input = rest;
        if output.bytes.len() - start < LEGACY_BLOCK {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the last four bytes are the unpacked size that the kernel's build appends.
fn is_appended_size(size: usize, rest: &[u8], output: &Output<'_>) -> bool {
    rest.is_empty() && size == output.bytes.len()
}
