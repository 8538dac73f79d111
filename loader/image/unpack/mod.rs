//! Unpacking of kernels: compressed files as a whole, and the payload of a bzImage; and of initrds.
//!
//! All decoders are in Rust: a static `kexec` is built without a C compiler. Bytes behind the
//! compressed stream are ignored, because the kernel's build appends the unpacked size to every
//! payload but gzip's (kernel 6.1 scripts/Makefile.lib, `size_append`).

mod lz4;
mod lzo1x;
mod lzop;

pub use super::format::Format;

use std::error::Error;
use std::io::{self, Read};

use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;

/// Unpacks `bytes`, whose format is told by their first bytes.
///
/// `limit` is the most bytes that may come out: a damaged or hostile file can promise any
/// amount. `progress` is called with the number of bytes so far, every few MiB.
pub fn unpack(
    bytes: &[u8],
    limit: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<u8>, UnpackError> {
    unpack_stream(bytes, limit, progress).map(|(unpacked, _)| unpacked)
}

/// As [`unpack`], and returns how many of `bytes` the compressed stream takes as well: in an
/// initrd other archives follow it.
pub fn unpack_stream(
    bytes: &[u8],
    limit: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<(Vec<u8>, usize), UnpackError> {
    let format = Format::detect(bytes).ok_or(UnpackError::UnknownFormat)?;
    let mut output = Output { bytes: Vec::new(), limit, progress };
    let mut input = bytes;
    let done = output.reserve(size_hint(bytes, limit)).and_then(|()| match format {
        Format::Gzip => output.read_from(flate2::bufread::GzDecoder::new(&mut input)),
        Format::Xz => output.read_from(XzReader::new(&mut input, false)),
        Format::Zstd => zstd(&mut input, &mut output),
        Format::Lz4 => lz4::unpack(&mut input, &mut output),
        Format::Lzma => lzma(&mut input, &mut output),
        Format::Bzip2 => output.read_from(bzip2::bufread::BzDecoder::new(&mut input)),
        Format::Lzo => lzop::unpack(&mut input, &mut output),
    });
    // Some decoders take a file that ends behind its magic number for a complete empty one.
    let done = done.and_then(|()| if output.bytes.is_empty() { Err(truncated()) } else { Ok(()) });
    let unpacked = output.bytes.len();
    let offset = bytes.len() - input.len();
    match done {
        Ok(()) => Ok((output.bytes, offset)),
        Err(Stop::Limit) => Err(UnpackError::Limit { format, limit }),
        Err(Stop::Failed(cause)) if cause.kind() == io::ErrorKind::OutOfMemory => {
            Err(UnpackError::OutOfMemory { format, unpacked })
        }
        Err(Stop::Failed(cause)) => Err(UnpackError::Damaged { format, offset, unpacked, cause }),
    }
}

/// The unpacked size, if the last four bytes may be it; else an amount to begin with.
fn size_hint(bytes: &[u8], limit: usize) -> usize {
    // Kernels shrink to a quarter or an eighth. A larger "size" is something else.
    let most = bytes.len().saturating_mul(16);
    let stated = bytes.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
    let hint = match usize::try_from(stated) {
        Ok(size) if (bytes.len()..=most).contains(&size) => size,
        Ok(_) | Err(_) => bytes.len().saturating_mul(4),
    };
    hint.min(limit)
}

fn zstd(input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    let mut decoder = StreamingDecoder::new(input).map_err(io::Error::other)?;
    output.read_from(&mut decoder)?;
    // The decoder computes the content's checksum but leaves the comparison to its user.
    let frame = decoder.into_frame_decoder();
    match frame.get_checksum_from_data() {
        Some(stated) if frame.get_calculated_checksum() != Some(stated) => {
            Err(invalid_data("the content's checksum is wrong"))
        }
        Some(_) | None => Ok(()),
    }
}

fn lzma(input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    // The dictionary grows with the output, so `limit` bounds its memory too.
    let no_memory_limit = u32::MAX;
    let packed = *input;
    let mut reader = LzmaReader::new_mem_limit(packed, no_memory_limit, None)?;
    let done = output.read_from(&mut reader);
    // It reads ahead.
    let (rest, unused) = reader.into_parts();
    *input = &packed[packed.len() - rest.len() - unused.len()..];
    done
}

/// What has come out so far.
struct Output<'p> {
    bytes: Vec<u8>,
    limit: usize,
    progress: &'p mut dyn FnMut(u64),
}

impl Output<'_> {
    /// Takes everything that `decoder` gives.
    fn read_from(&mut self, mut decoder: impl Read) -> Result<(), Stop> {
        const CHUNK: u64 = 4 << 20;
        loop {
            let length = decoder.by_ref().take(CHUNK).read_to_end(&mut self.bytes)?;
            self.check()?;
            if (length as u64) < CHUNK {
                return Ok(());
            }
        }
    }

    /// Takes one block: `decode` writes at most `largest` bytes and returns how many.
    fn block(
        &mut self,
        largest: usize,
        decode: impl FnOnce(&mut [u8]) -> Result<usize, Stop>,
    ) -> Result<(), Stop> {
        let start = self.bytes.len();
        self.reserve(largest)?;
        self.bytes.resize(start + largest, 0);
        let decoded = decode(&mut self.bytes[start..]);
        self.bytes.truncate(start + decoded.as_ref().map_or(0, |length| *length));
        decoded?;
        self.check()
    }

    /// How many bytes may still come out.
    fn left(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    fn reserve(&mut self, more: usize) -> Result<(), Stop> {
        let reserved = self.bytes.try_reserve(more);
        reserved.map_err(|error| Stop::Failed(io::Error::new(io::ErrorKind::OutOfMemory, error)))
    }

    fn check(&mut self) -> Result<(), Stop> {
        if self.bytes.len() > self.limit {
            return Err(Stop::Limit);
        }
        (self.progress)(self.bytes.len() as u64);
        Ok(())
    }
}

/// Why unpacking stopped early.
enum Stop {
    Limit,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

fn invalid_data(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Stop {
    Stop::Failed(io::Error::new(io::ErrorKind::InvalidData, cause))
}

fn truncated() -> Stop {
    Stop::Failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the data ends in the middle"))
}

/// Why something could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// None of the known magic numbers.
    #[error("not compressed with gzip, xz, zstd, lz4, lzma, bzip2 or lzop")]
    UnknownFormat,
    /// The data contradict themselves or end too early.
    #[error(
        "the {format} data are damaged or truncated: decoding failed near offset {offset:#x}, \
         after {unpacked} bytes had come out; copy or download the file again"
    )]
    Damaged {
        /// The format.
        format: Format,
        /// How much of the input the decoder had taken.
        offset: usize,
        /// How many bytes had come out.
        unpacked: usize,
        /// What the decoder says.
        #[source]
        cause: io::Error,
    },
    /// More came out than the caller allows.
    #[error("the {format} data unpack to more than {limit} bytes: too large")]
    Limit {
        /// The format.
        format: Format,
        /// What the caller allows.
        limit: usize,
    },
    /// No memory.
    #[error("out of memory after {unpacked} bytes were unpacked from {format} data")]
    OutOfMemory {
        /// The format.
        format: Format,
        /// How many bytes had come out.
        unpacked: usize,
    },
}

#[cfg(test)]
mod tests;
