//! The lzop container: a header and blocks of LZO1X data, all numbers big-endian.
//!
//! Layout as in kernel 6.1 lib/decompress_unlzo.c (which reads a part of it) and in what
//! `lzop` 1.04 writes; data are verified by the checksums that the file has.

use zlib_rs::adler32::adler32;
use zlib_rs::crc32::crc32;

use super::{Output, Stop, invalid_data, lzo1x, truncated};

const MAGIC_LENGTH: usize = 9;

/// lzop refuses larger blocks as well.
const LARGEST_BLOCK: usize = 64 << 20;

const ADLER32_UNPACKED: u32 = 0x1;
const ADLER32_PACKED: u32 = 0x2;
const EXTRA_FIELD: u32 = 0x40;
const CRC32_UNPACKED: u32 = 0x100;
const CRC32_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;
const HEADER_CRC32: u32 = 0x1000;

pub(super) fn unpack(input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    let flags = header(input)?;
    while let Some(block) = Block::read(input, flags)? {
        let Sums { adler32, crc32 } = block.packed_sums;
        verify(block.data, adler32, crc32)?;
        if block.unpacked > output.left() {
            return Err(Stop::Limit);
        }
        let start = output.bytes.len();
        output.block(block.unpacked, |room| block.unpack(room))?;
        let Sums { adler32, crc32 } = block.unpacked_sums;
        verify(&output.bytes[start..], adler32, crc32)?;
    }
    Ok(())
}

/// Reads the header and returns its flags.
fn header(input: &mut &[u8]) -> Result<u32, Stop> {
    take(input, MAGIC_LENGTH)?;
    let start = *input;
    // 0.940 (1997) is the first version that wrote the fields read here.
    let version = u16::from_be_bytes(array(input)?);
    if version < 0x0940 {
        return Err(invalid_data("lzop versions before 0.94 are not supported"));
    }
    let [_, _, _, _, method, _level] = array(input)?; // first the library's and needed versions
    if !(1..=3).contains(&method) {
        return Err(invalid_data("the compression method is not LZO1X"));
    }
    let flags = number(input)?;
    if flags & FILTER != 0 {
        return Err(invalid_data("lzop filters are not supported"));
    }
    array::<12>(input)?; // mode, time of modification
    let [name_length] = array(input)?;
    take(input, name_length.into())?;
    let covered = &start[..start.len() - input.len()];
    let stated = number(input)?;
    let found = if flags & HEADER_CRC32 != 0 { crc32(0, covered) } else { adler32(1, covered) };
    if found != stated {
        return Err(invalid_data("the header's checksum is wrong"));
    }
    if flags & EXTRA_FIELD != 0 {
        let length = size(input)?;
        take(input, length)?;
        number(input)?; // its checksum
    }
    Ok(flags)
}

struct Block<'a> {
    unpacked: usize,
    unpacked_sums: Sums,
    packed_sums: Sums,
    data: &'a [u8],
}

#[derive(Default)]
struct Sums {
    adler32: Option<u32>,
    crc32: Option<u32>,
}

impl<'a> Block<'a> {
    /// The next block, or `None` at the end mark.
    fn read(input: &mut &'a [u8], flags: u32) -> Result<Option<Self>, Stop> {
        let unpacked = size(input)?;
        if unpacked == 0 {
            return Ok(None);
        }
        let packed = size(input)?;
        if unpacked > LARGEST_BLOCK || packed > unpacked {
            return Err(invalid_data("the size of a block is impossible"));
        }
        let unpacked_sums = Sums::read(input, flags, ADLER32_UNPACKED, CRC32_UNPACKED)?;
        let packed_sums = if packed < unpacked {
            Sums::read(input, flags, ADLER32_PACKED, CRC32_PACKED)?
        } else {
            Sums::default()
        };
        let data = take(input, packed)?;
        Ok(Some(Self { unpacked, unpacked_sums, packed_sums, data }))
    }

    /// Fills `room`, which has `unpacked` bytes.
    fn unpack(&self, room: &mut [u8]) -> Result<usize, Stop> {
        if self.data.len() == room.len() {
            room.copy_from_slice(self.data); // incompressible: stored
            return Ok(room.len());
        }
        let length = lzo1x::decompress(self.data, room).map_err(invalid_data)?;
        if length != self.unpacked {
            return Err(invalid_data("a block unpacks to fewer bytes than it states"));
        }
        Ok(length)
    }
}

impl Sums {
    /// Reads the checksums that `flags` say are there.
    fn read(input: &mut &[u8], flags: u32, adler: u32, crc: u32) -> Result<Self, Stop> {
        let adler32 = if flags & adler != 0 { Some(number(input)?) } else { None };
        let crc32 = if flags & crc != 0 { Some(number(input)?) } else { None };
        Ok(Self { adler32, crc32 })
    }
}

fn verify(data: &[u8], adler: Option<u32>, crc: Option<u32>) -> Result<(), Stop> {
    let adler_is_good = adler.is_none_or(|stated| stated == adler32(1, data));
    let crc_is_good = crc.is_none_or(|stated| stated == crc32(0, data));
    if adler_is_good && crc_is_good {
        Ok(())
    } else {
        Err(invalid_data("the checksum of a block is wrong"))
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Stop> {
    input.split_off(..length).ok_or_else(truncated)
}

fn array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Stop> {
    let (head, rest) = input.split_first_chunk().ok_or_else(truncated)?;
    *input = rest;
    Ok(*head)
}

fn number(input: &mut &[u8]) -> Result<u32, Stop> {
    array(input).map(u32::from_be_bytes)
}

fn size(input: &mut &[u8]) -> Result<usize, Stop> {
    usize::try_from(number(input)?).map_err(|_| invalid_data("a size does not fit in memory"))
}
