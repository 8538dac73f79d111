//! Partition UUIDs: of a GPT (UEFI specification 2.10, section 5.3) as they stand there, of an
//! MBR made of the disk's signature and the partition's number, as the kernel does
//! (block/partitions/msdos.c, Linux 6.1).

use std::fs::File;
use std::io;

use super::{array, hex, read_at};

/// A GPT header stands in the second logical block; disks have blocks of one of these sizes.
const BLOCK_SIZES: [u64; 2] = [512, 4096];
const GPT_SIGNATURE: &[u8] = b"EFI PART";
const GPT_HEADER_LENGTH: usize = 92;
const GPT_ENTRIES_LBA: usize = 72;
const GPT_ENTRY_COUNT: usize = 80;
const GPT_ENTRY_SIZE: usize = 84;
/// Offset of the unique partition GUID in an entry.
const GPT_ENTRY_GUID: u64 = 16;
/// Offset of the disk's signature in an MBR.
const MBR_DISK_SIGNATURE: usize = 440;
const MBR_MAGIC: usize = 510;

/// UUID of partition `number` (from 1) of a disk; `None` if its table has no such entry.
pub fn partuuid(disk: &File, number: u32) -> io::Result<Option<String>> {
    for block_size in BLOCK_SIZES {
        let header = read_at(disk, block_size, GPT_HEADER_LENGTH)?;
        if let Some(header) = header.filter(|header| header.starts_with(GPT_SIGNATURE)) {
            return gpt_partuuid(disk, block_size, &header, number);
        }
    }
    Ok(read_at(disk, 0, 512)?.and_then(|block| mbr_partuuid(&block, number)))
}

fn gpt_partuuid(
    disk: &File,
    block_size: u64,
    header: &[u8],
    number: u32,
) -> io::Result<Option<String>> {
    let Some(offset) = gpt_guid_offset(block_size, header, number) else { return Ok(None) };
    let guid = read_at(disk, offset, 16)?;
    Ok(guid.filter(|guid| guid.iter().any(|byte| *byte != 0)).map(|guid| format_guid(&guid)))
}

fn gpt_guid_offset(block_size: u64, header: &[u8], number: u32) -> Option<u64> {
    let entries = u64::from_le_bytes(array(header, GPT_ENTRIES_LBA)?).checked_mul(block_size)?;
    let count = u32::from_le_bytes(array(header, GPT_ENTRY_COUNT)?);
    let size = u32::from_le_bytes(array(header, GPT_ENTRY_SIZE)?);
    let index = number.checked_sub(1).filter(|index| *index < count)?;
    let entry = entries.checked_add(u64::from(index).checked_mul(size.into())?)?;
    entry.checked_add(GPT_ENTRY_GUID)
}

/// The first three groups of a GUID are little-endian numbers.
fn format_guid(guid: &[u8]) -> String {
    let reversed = |range: std::ops::Range<usize>| hex(guid[range].iter().rev().copied());
    let plain = |range: std::ops::Range<usize>| hex(guid[range].iter().copied());
    [reversed(0..4), reversed(4..6), reversed(6..8), plain(8..10), plain(10..16)].join("-")
}

fn mbr_partuuid(block: &[u8], number: u32) -> Option<String> {
    let signature = u32::from_le_bytes(array(block, MBR_DISK_SIGNATURE)?);
    let good = array(block, MBR_MAGIC)? == [0x55, 0xaa] && signature != 0;
    good.then(|| format!("{signature:08x}-{number:02x}"))
}
