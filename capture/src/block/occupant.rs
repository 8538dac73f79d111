//! What a device already has, so that a dump does not destroy it.

use std::fs::File;
use std::io;

use super::read_at;
use super::superblock::Superblock;

/// Where a format has its signature: offset, bytes, and what has it. For what it is a sign of, see
/// Linux 6.1 as named; the others are of other systems' documents.
const SIGNATURES: [(u64, &[u8], &str); 12] = [
    (0, b"LUKS\xba\xbe", "LUKS"),
    // include/linux/swap.h: the last bytes of the first page, of 4096 or 65536.
    (4096 - 10, b"SWAPSPACE2", "swap space"),
    (65536 - 10, b"SWAPSPACE2", "swap space"),
    // LVM writes its label into one of the first four sectors, the second by default.
    (512, b"LABELONE", "an LVM volume"),
    // Documentation/admin-guide/md.rst: superblocks 1.1 and 1.2; 1.0 is at the end.
    (0, b"\xfc\x4e\x2b\xa9", "an md array"),
    (4096, b"\xfc\x4e\x2b\xa9", "an md array"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    // fs/f2fs: include/linux/f2fs_fs.h.
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (32769, b"CD001", "ISO 9660"),
    // UEFI specification 2.10, section 5.3: with blocks of 512 and 4096 bytes.
    (512, b"EFI PART", "a partition table"),
    (4096, b"EFI PART", "a partition table"),
];

/// What is on the device, if it is something that is known.
pub fn occupant(device: &File) -> io::Result<Option<String>> {
    if let Some(found) = Superblock::read(device)? {
        return Ok(Some(format!("a file system ({})", found.family)));
    }
    for (offset, signature, name) in SIGNATURES {
        if read_at(device, offset, signature.len())?.is_some_and(|bytes| bytes == signature) {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(has_boot_sector(device)?.then(|| "a partition table or boot sector".to_owned()))
}

/// The end of an MBR. A dump has it only by chance, and then something else before it.
fn has_boot_sector(device: &File) -> io::Result<bool> {
    let end = read_at(device, 510, 2)?;
    let start = read_at(device, 0, 8)?.unwrap_or_default();
    let is_dump = start == b"KDUMP   " || start.starts_with(b"\x7fELF");
    Ok(!is_dump && end.is_some_and(|end| end == [0x55, 0xaa]))
}
