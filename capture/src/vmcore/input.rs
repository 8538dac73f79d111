//! The bytes of a dump file: as they are, or put in order if they are flattened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use super::window;
use crate::format::flattened::{HEADER_SIZE, Record, SIGNATURE};

/// More pieces than a flattened dump of many terabytes has; each costs memory.
const MAX_PIECES: usize = 1 << 24;

/// A dump file.
#[derive(Debug)]
pub(super) enum Input {
    /// Its bytes are in order.
    Plain { file: File, size: u64, is_proc: bool },
    /// It is a stream of pieces.
    Flattened { file: File, size: u64, pieces: Pieces },
}

impl Input {
    /// Looks what kind of file it is.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let size = if metadata.file_type().is_block_device() {
            // It has no length; its end has a place.
            (&file).seek(SeekFrom::End(0))?
        } else {
            metadata.len()
        };
        let mut signature = [0; SIGNATURE.len()];
        let flattened = size >= HEADER_SIZE as u64
            && file.read_exact_at(&mut signature, 0).is_ok()
            && signature == *SIGNATURE;
        if flattened {
            let pieces = Pieces::read(&file, size)?;
            let size = pieces.end();
            return Ok(Self::Flattened { file, size, pieces });
        }
        let is_proc = fstatfs(&file).is_ok_and(|status| status.f_type == PROC_SUPER_MAGIC);
        Ok(Self::Plain { file, size, is_proc })
    }

    /// Length in bytes of the dump, put in order.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Plain { size, .. } | Self::Flattened { size, .. } => *size,
        }
    }

    /// Fills `buffer` with the bytes at `offset`.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain { file, is_proc: true, .. } => window::read(file, offset, buffer),
            Self::Plain { file, is_proc: false, .. } => file.read_exact_at(buffer, offset),
            Self::Flattened { file, size, pieces } => {
                let length = buffer.len() as u64;
                if offset.checked_add(length).is_none_or(|end| end > *size) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                pieces.read_at(file, buffer, offset)
            }
        }
    }

    /// For parsers that read from a position.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { input: self, position: 0 }
    }
}

/// Reads an input from a position that it keeps.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    input: &'a Input,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.input.size().saturating_sub(self.position);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.input.read_exact_at(&mut buffer[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.input.size().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The pieces of a flattened file by where they belong, without overlaps: of two pieces for one
/// place the later counts.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// From the offset in the dump to length and offset in the file.
    by_offset: BTreeMap<u64, (u64, u64)>,
}

impl Pieces {
    /// Goes from record to record. A file that was cut off has what is there.
    fn read(file: &File, size: u64) -> io::Result<Self> {
        let damaged = |at: u64, what: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("flattened dump: the record at {at:#x} {what}"),
            )
        };
        let mut pieces = Self::default();
        let mut at = HEADER_SIZE as u64;
        while size - at >= Record::SIZE as u64 {
            let mut bytes = [0; Record::SIZE];
            file.read_exact_at(&mut bytes, at)?;
            let record = Record::decode(bytes);
            if record == Record::END {
                break;
            }
            let (Ok(offset), Ok(length)) =
                (u64::try_from(record.offset), u64::try_from(record.size))
            else {
                return Err(damaged(at, "has a negative offset or size"));
            };
            if offset.checked_add(length).is_none() {
                return Err(damaged(at, "ends outside any file"));
            }
            if pieces.by_offset.len() > MAX_PIECES {
                return Err(damaged(at, "is one of too many"));
            }
            let content = at + Record::SIZE as u64;
            let available = length.min(size - content);
            pieces.insert(offset, available, content);
            at = content + available;
        }
        Ok(pieces)
    }

    fn insert(&mut self, offset: u64, length: u64, content: u64) {
        if length == 0 {
            return;
        }
        let end = offset + length;
        // Usually none: only headers are written twice.
        let mut overlapping = Vec::new();
        for (&start, &(old, _)) in self.by_offset.range(..end).rev() {
            if start + old <= offset {
                break;
            }
            overlapping.push(start);
        }
        for start in overlapping {
            let Some((old, at)) = self.by_offset.remove(&start) else { continue };
            if start < offset {
                self.by_offset.insert(start, (offset - start, at));
            }
            if start + old > end {
                self.by_offset.insert(end, (start + old - end, at + (end - start)));
            }
        }
        self.by_offset.insert(offset, (length, content));
    }

    fn end(&self) -> u64 {
        self.by_offset.last_key_value().map_or(0, |(offset, (length, _))| offset + length)
    }

    /// What no piece has is zero.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for (&start, &(length, content)) in self.by_offset.range(..end).rev() {
            let (from, to) = (start.max(offset), (start + length).min(end));
            if from >= to {
                break;
            }
            let index = |at: u64| usize::try_from(at - offset).map_err(io::Error::other);
            let target = &mut buffer[index(from)?..index(to)?];
            file.read_exact_at(target, content + (from - start))?;
        }
        Ok(())
    }
}
