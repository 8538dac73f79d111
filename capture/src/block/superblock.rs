//! The superblock of ext2, ext3 and ext4
//! (Documentation/filesystems/ext4/super.rst, Linux 6.1).

use std::fs::File;
use std::io;

use super::{array, hex, read_at};

/// Offset of the superblock on the device.
const OFFSET: u64 = 1024;
/// Bytes read of it: all that is used here.
const LENGTH: usize = 256;
const S_MAGIC: usize = 0x38;
const S_FEATURE_INCOMPAT: usize = 0x60;
const S_UUID: usize = 0x68;
const S_VOLUME_NAME: usize = 0x78;
const EXT_MAGIC: u16 = 0xef53;
/// The device is an external journal: no file system to write to.
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;

/// What names a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// 8-4-4-4-12 hexadecimal digits, lower case.
    pub uuid: String,
    /// The volume's label; empty if it has none.
    pub label: String,
}

impl Superblock {
    /// Reads the superblock of a device; `None` if it has no ext file system.
    pub fn read(device: &File) -> io::Result<Option<Self>> {
        let block = read_at(device, OFFSET, LENGTH)?;
        Ok(block.and_then(|block| Self::parse(&block)))
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let magic = u16::from_le_bytes(array(block, S_MAGIC)?);
        let incompat = u32::from_le_bytes(array(block, S_FEATURE_INCOMPAT)?);
        if magic != EXT_MAGIC || incompat & INCOMPAT_JOURNAL_DEV != 0 {
            return None;
        }
        let uuid: [u8; 16] = array(block, S_UUID)?;
        let groups = [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]];
        let label: [u8; 16] = array(block, S_VOLUME_NAME)?;
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            uuid: groups.map(|group| hex(group.iter().copied())).join("-"),
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }
}
