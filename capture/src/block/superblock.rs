//! What names a file system: the superblocks of those that dumps are saved on.

use std::fmt;
use std::fs::File;
use std::io;

use super::{array, hex, read_at};
use crate::config::Filesystem;

/// File systems with the same superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// ext2, ext3 and ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// FAT12, FAT16 and FAT32.
    Fat,
}

impl Family {
    /// The family of a file system.
    pub fn of(filesystem: Filesystem) -> Self {
        match filesystem {
            Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => Self::Ext,
            Filesystem::Xfs => Self::Xfs,
            Filesystem::Btrfs => Self::Btrfs,
            Filesystem::Vfat => Self::Fat,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext => "ext2, ext3 or ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Fat => "vfat",
        })
    }
}

/// What names a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which file system.
    pub family: Family,
    /// 8-4-4-4-12 hexadecimal digits, of FAT 4-4; lower case.
    pub uuid: String,
    /// The volume's label; empty if it has none.
    pub label: String,
}

impl Superblock {
    /// Reads the superblock of a device; `None` if it has none of these file systems.
    pub fn read(device: &File) -> io::Result<Option<Self>> {
        for (offset, length, parse) in READERS {
            let block = read_at(device, offset, length)?;
            if let Some(found) = block.and_then(|block| parse(&block)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Where a superblock is on the device, how much of it is used here, and what reads it.
type Reader = (u64, usize, fn(&[u8]) -> Option<Superblock>);

const READERS: [Reader; 4] =
    [(1024, 256, ext), (0, 512, xfs), (64 << 10, 4096, btrfs), (0, 512, fat)];

/// Documentation/filesystems/ext4/super.rst, Linux 6.1.
fn ext(block: &[u8]) -> Option<Superblock> {
    const S_MAGIC: usize = 0x38;
    const S_FEATURE_INCOMPAT: usize = 0x60;
    const S_UUID: usize = 0x68;
    const S_VOLUME_NAME: usize = 0x78;
    /// The device is an external journal: no file system to write to.
    const INCOMPAT_JOURNAL_DEV: u32 = 0x8;

    let magic = u16::from_le_bytes(array(block, S_MAGIC)?);
    let incompat = u32::from_le_bytes(array(block, S_FEATURE_INCOMPAT)?);
    let good = magic == 0xef53 && incompat & INCOMPAT_JOURNAL_DEV == 0;
    let label = text(&array::<16>(block, S_VOLUME_NAME)?);
    good.then_some(Superblock { family: Family::Ext, uuid: uuid(array(block, S_UUID)?), label })
}

/// `struct xfs_dsb`, fs/xfs/libxfs/xfs_format.h, Linux 6.1.
fn xfs(block: &[u8]) -> Option<Superblock> {
    const SB_UUID: usize = 32;
    const SB_FNAME: usize = 108;

    let label = text(&array::<12>(block, SB_FNAME)?);
    let uuid = uuid(array(block, SB_UUID)?);
    block.starts_with(b"XFSB").then_some(Superblock { family: Family::Xfs, uuid, label })
}

/// `struct btrfs_super_block`, fs/btrfs/ctree.h, Linux 6.1.
fn btrfs(block: &[u8]) -> Option<Superblock> {
    const FSID: usize = 0x20;
    const MAGIC: usize = 0x40;
    const LABEL: usize = 0x12b;

    let label = text(&array::<256>(block, LABEL)?);
    let uuid = uuid(array(block, FSID)?);
    let good = array(block, MAGIC)? == *b"_BHRfS_M";
    good.then_some(Superblock { family: Family::Btrfs, uuid, label })
}

/// `struct fat_boot_sector`, include/uapi/linux/msdos_fs.h, Linux 6.1. What makes file systems
/// also writes which FAT it is.
fn fat(block: &[u8]) -> Option<Superblock> {
    /// Offsets of the volume's number, its label, and the name of the format, in FAT12 and FAT16.
    const FAT16: (usize, usize, usize) = (0x27, 0x2b, 0x36);
    /// The same in FAT32.
    const FAT32: (usize, usize, usize) = (0x43, 0x47, 0x52);
    /// Stands where there is no label.
    const NO_NAME: &str = "NO NAME";

    if array(block, 0x1fe)? != [0x55, 0xaa] {
        return None;
    }
    let named = |(_, _, name): &(usize, usize, usize)| {
        block.get(*name..).is_some_and(|rest| rest.starts_with(b"FAT"))
    };
    let (number, label, _) = [FAT32, FAT16].into_iter().find(named)?;
    let number = u32::from_le_bytes(array(block, number)?);
    let label = text(&array::<11>(block, label)?);
    let label = label.trim_end();
    Some(Superblock {
        family: Family::Fat,
        uuid: format!("{:04x}-{:04x}", number >> 16, number & 0xffff),
        label: if label == NO_NAME { String::new() } else { label.to_owned() },
    })
}

fn uuid(uuid: [u8; 16]) -> String {
    let groups = [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]];
    groups.map(|group| hex(group.iter().copied())).join("-")
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
