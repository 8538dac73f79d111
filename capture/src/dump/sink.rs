//! Where the bytes of a dump go.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

use super::verify::Region;
use super::{Error, Output};
use crate::format::flattened::{self, Record};

/// Bytes that are collected before they are written.
pub(super) const BUFFER: usize = 1 << 20;

/// An output, written at any offset.
pub(super) struct Sink<'a> {
    to: To<'a>,
    /// The end of the file as far as it was written.
    size: u64,
}

enum To<'a> {
    /// `has_holes`: what was not written reads as zeros.
    File {
        file: &'a File,
        has_holes: bool,
        /// Nothing is written from here on.
        room: u64,
    },
    Stream {
        stream: &'a mut dyn Write,
        digest: Sha256,
        written: u64,
    },
}

impl<'a> Sink<'a> {
    pub fn new(output: Output<'a>) -> Result<Self, Error> {
        let failed = |source| Error::Write { offset: 0, source };
        let to = match output {
            Output::File(file) => {
                let metadata = file.metadata().map_err(failed)?;
                let has_holes = metadata.is_file() && metadata.len() == 0;
                To::File { file, has_holes, room: u64::MAX }
            }
            Output::Device { device, room } => To::File { file: device, has_holes: false, room },
            Output::Stream(stream) => To::Stream { stream, digest: Sha256::new(), written: 0 },
        };
        let mut sink = Self { to, size: 0 };
        if let To::Stream { .. } = sink.to {
            sink.stream(&flattened::header()).map_err(failed)?;
        }
        Ok(sink)
    }

    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = match &self.to {
            To::File { room, .. } if offset.saturating_add(bytes.len() as u64) > *room => {
                Err(io::ErrorKind::StorageFull.into())
            }
            To::File { file, .. } => file.write_all_at(bytes, offset),
            To::Stream { .. } => {
                let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                let record = Record { offset: number(offset), size: number(bytes.len() as u64) };
                self.stream(&record.encode()).and_then(|()| self.stream(bytes))
            }
        };
        written.map_err(|source| Error::Write { offset, source })?;
        self.size = self.size.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Writes bytes that are to be found when the dump is read back.
    pub fn write_region(&mut self, offset: u64, bytes: &[u8]) -> Result<Region, Error> {
        self.write_at(offset, bytes)?;
        let range = offset..offset + bytes.len() as u64;
        Ok(Region { range, hash: XxHash3_64::oneshot(bytes) })
    }

    /// Makes the bytes zero. A new file has zeros where nothing was written.
    pub fn write_zeros(&mut self, mut offset: u64, length: u64) -> Result<(), Error> {
        let end = offset + length;
        if let To::File { has_holes: true, .. } = self.to {
            self.size = self.size.max(end);
            return Ok(());
        }
        let zeros = vec![0; BUFFER];
        while offset < end {
            let length = usize::try_from(end - offset).unwrap_or(BUFFER).min(BUFFER);
            self.write_at(offset, &zeros[..length])?;
            offset += length as u64;
        }
        Ok(())
    }

    /// Makes sure that there is room for the first `length` bytes, where the file system can.
    pub fn reserve(&self, length: u64) -> Result<(), Error> {
        let To::File { file, has_holes: true, .. } = self.to else { return Ok(()) };
        // Most file systems cannot; what is written later will tell.
        if let Err(errno @ Errno::NOSPC) = fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
            return Err(Error::Write { offset: 0, source: errno.into() });
        }
        // Readers want all of the bitmaps, wherever the file is cut off.
        file.set_len(length).map_err(|source| Error::Write { offset: length, source })
    }

    /// Waits until the disk has what was written; a stream hands on what it holds back.
    pub fn sync(&mut self) -> Result<(), Error> {
        let synced = match &mut self.to {
            To::File { file, .. } => file.sync_data(),
            To::Stream { stream, .. } => stream.flush(),
        };
        synced.map_err(|source| Error::Write { offset: self.size, source })
    }

    /// Whether [`sync`](Self::sync) waits for a disk.
    pub fn waits(&self) -> bool {
        matches!(self.to, To::File { .. })
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        match &self.to {
            To::File { .. } => self.size,
            To::Stream { written, .. } => *written,
        }
    }

    /// Ends the file or the stream; returns its size, and of a stream its SHA-256.
    pub fn finish(mut self) -> Result<(u64, Option<[u8; 32]>), Error> {
        let failed = |source| Error::Write { offset: 0, source };
        if let To::Stream { .. } = self.to {
            self.stream(&Record::END.encode()).map_err(failed)?;
        }
        match self.to {
            To::File { file, has_holes, .. } => {
                if has_holes {
                    file.set_len(self.size).map_err(failed)?;
                }
                file.sync_all().map_err(failed)?;
                Ok((self.size, None))
            }
            To::Stream { stream, digest, written } => {
                stream.flush().map_err(failed)?;
                Ok((written, Some(digest.finalize().into())))
            }
        }
    }

    fn stream(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let To::Stream { stream, digest, written } = &mut self.to {
            stream.write_all(bytes)?;
            digest.update(bytes);
            *written += bytes.len() as u64;
        }
        Ok(())
    }
}

/// A part of the file that grows at its end.
pub(super) struct Growing {
    start: u64,
    /// Where the buffer goes.
    offset: u64,
    buffer: Vec<u8>,
    /// Of what was written.
    hash: XxHash3_64,
}

impl Growing {
    pub fn new(start: u64) -> Self {
        Self { start, offset: start, buffer: Vec::new(), hash: XxHash3_64::new() }
    }

    /// Where its first byte goes.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// What was written.
    pub fn region(&self) -> Region {
        Region { range: self.start..self.offset, hash: self.hash.finish() }
    }

    /// Where the next byte goes.
    pub fn end(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Appends bytes; whether it is time to [flush](Self::flush).
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        self.buffer.extend_from_slice(bytes);
        self.buffer.len() >= BUFFER
    }

    /// Writes what was collected.
    pub fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            sink.write_at(self.offset, &self.buffer)?;
            self.hash.write(&self.buffer);
            self.offset = self.end();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Goes on at `offset`, which is not before the end; what is between is zero.
    pub fn skip_to(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<(), Error> {
        if offset == self.end() {
            return Ok(());
        }
        self.flush(sink)?;
        let length = offset - self.offset;
        sink.write_zeros(self.offset, length)?;
        hash_zeros(&mut self.hash, length);
        self.offset = offset;
        Ok(())
    }
}

fn hash_zeros(hash: &mut XxHash3_64, mut length: u64) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while length > 0 {
        let part = usize::try_from(length).unwrap_or(ZEROS.len()).min(ZEROS.len());
        hash.write(&ZEROS[..part]);
        length -= part as u64;
    }
}
