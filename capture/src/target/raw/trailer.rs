//! The end of a raw device: what belongs to the dump at its beginning.
//!
//! The last 4096 bytes of the device are the trailer, little-endian; the parts lie before it, each in
//! a room of its own:
//!
//! | offset | what |
//! |---|---|
//! | 0 | `KDUMPRAW` |
//! | 8 | version of this layout, 32 bits: 1 |
//! | 16 | size of the dump in bytes, 64 bits; 0 until it is complete |
//! | 24 | offset on the device and length in bytes of the dead kernel's log, each of 64 bits |
//! | 40 | the same of the manifest |
//! | 56 | the same of the capture's own log |
//! | 72 | SHA-256 of the bytes before |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"KDUMPRAW";
const VERSION: u32 = 1;
const SIZE: u64 = 4096;
const SUMMED: usize = 72;

/// What the trailer and its parts take of a device.
const ROOM: u64 = 4 << 20;

/// A device smaller than this is not taken.
const LEAST: u64 = 2 * ROOM;

/// What there is besides the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The dead kernel's log.
    Log,
    /// The manifest.
    Manifest,
    /// The capture's own log.
    Journal,
}

impl Part {
    const ALL: [Self; 3] = [Self::Log, Self::Manifest, Self::Journal];

    /// Where its room begins, in bytes from the beginning of all parts, and how long it is.
    const fn room(self) -> (u64, usize) {
        match self {
            Self::Log => (0, 3 << 20),
            Self::Manifest => (3 << 20, 256 << 10),
            Self::Journal => ((3 << 20) + (256 << 10), 256 << 10),
        }
    }

    /// Most of it that is kept, in bytes.
    pub fn most(self) -> usize {
        self.room().1
    }
}

/// Where a part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    offset: u64,
    length: u64,
}

/// The trailer of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Size of the dump in bytes; 0 until it is complete.
    pub dump_bytes: u64,
    /// Size of the device in bytes.
    size: u64,
    parts: [Extent; 3],
}

impl Trailer {
    /// The trailer of a device of `size` bytes that has no dump yet; `None` if it is too small.
    pub fn new(size: u64) -> Option<Self> {
        (size >= LEAST).then_some(Self { dump_bytes: 0, size, parts: Default::default() })
    }

    /// Reads the trailer of a device, or of a file with a copy of one; `None` if there is none.
    pub fn read(device: &File, size: u64) -> io::Result<Option<Self>> {
        let Some(mut trailer) = Self::new(size) else { return Ok(None) };
        let mut bytes = [0; SUMMED + 32];
        device.read_exact_at(&mut bytes, size - SIZE)?;
        let (summed, sum) = bytes.split_at(SUMMED);
        let good = summed.starts_with(MAGIC)
            && summed[8..12] == VERSION.to_le_bytes()
            && *sum == *Sha256::digest(summed);
        if !good {
            return Ok(None);
        }
        let word =
            |at: usize| summed[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        trailer.dump_bytes = word(16);
        for (number, part) in trailer.parts.iter_mut().enumerate() {
            let at = 24 + 16 * number;
            *part = Extent { offset: word(at), length: word(at + 8) };
        }
        Ok(Some(trailer))
    }

    /// Reads a part; empty where there is none.
    pub fn part(&self, part: Part, device: &File) -> io::Result<Vec<u8>> {
        let Extent { offset, length } = self.parts[part as usize];
        // What is not ours to believe is read as far as it can be ours.
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(part.most());
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Bytes of the device that a dump can have.
    pub fn room(&self) -> u64 {
        self.size - ROOM
    }

    /// Writes a part to the device, as much of it as there is room for. [`write`](Self::write) makes
    /// it count.
    pub(super) fn set(&mut self, part: Part, device: &File, bytes: &[u8]) -> io::Result<()> {
        let (start, most) = part.room();
        let bytes = &bytes[..bytes.len().min(most)];
        let offset = self.room() + start;
        device.write_all_at(bytes, offset)?;
        self.parts[part as usize] = Extent { offset, length: bytes.len() as u64 };
        Ok(())
    }

    /// Writes the trailer to the device.
    pub(super) fn write(&self, device: &File) -> io::Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.dump_bytes.to_le_bytes());
        for part in Part::ALL {
            let Extent { offset, length } = self.parts[part as usize];
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        device.write_all_at(&bytes, self.size - SIZE)
    }
}

const _: () = {
    let (start, most) = Part::Journal.room();
    assert!(start + most as u64 + SIZE <= ROOM, "the parts and the trailer fit");
};

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_OF_DEVICE: u64 = 16 << 20;

    fn device() -> File {
        let device = tempfile::tempfile().unwrap();
        device.set_len(SIZE_OF_DEVICE).unwrap();
        device
    }

    #[test]
    fn what_was_written_is_found() {
        let device = device();
        assert_eq!(Trailer::read(&device, SIZE_OF_DEVICE).unwrap(), None);
        let mut trailer = Trailer::new(SIZE_OF_DEVICE).unwrap();
        trailer.dump_bytes = 12345;
        trailer.set(Part::Log, &device, b"log").unwrap();
        trailer.set(Part::Journal, &device, &vec![b'x'; 1 << 20]).unwrap();
        trailer.write(&device).unwrap();
        let found = Trailer::read(&device, SIZE_OF_DEVICE).unwrap().unwrap();
        assert_eq!(found, trailer);
        assert_eq!(found.part(Part::Log, &device).unwrap(), b"log");
        assert_eq!(found.part(Part::Manifest, &device).unwrap(), b"");
        assert_eq!(found.part(Part::Journal, &device).unwrap(), vec![b'x'; 256 << 10]);
    }

    #[test]
    fn a_damaged_trailer_is_none() {
        let device = device();
        let trailer = Trailer::new(SIZE_OF_DEVICE).unwrap();
        trailer.write(&device).unwrap();
        for at in [0, 8, 16, 70, 100] {
            let mut byte = [0];
            device.read_exact_at(&mut byte, SIZE_OF_DEVICE - 4096 + at).unwrap();
            device.write_all_at(&[byte[0] ^ 1], SIZE_OF_DEVICE - 4096 + at).unwrap();
            assert_eq!(Trailer::read(&device, SIZE_OF_DEVICE).unwrap(), None, "{at}");
            device.write_all_at(&byte, SIZE_OF_DEVICE - 4096 + at).unwrap();
        }
        assert!(Trailer::read(&device, SIZE_OF_DEVICE).unwrap().is_some());
        assert!(Trailer::new(LEAST - 1).is_none());
    }
}
