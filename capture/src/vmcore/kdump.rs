//! Kdump-compressed files: a page is found by its number among the pages that are there.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::input::Input;
use super::{Error, Headers, Load, MAX_NOTES, MAX_PFN, VmcoreInfo};
use crate::format::kdump::{Descriptor, HEADER_SIZE, Header, HeaderError, SUB_HEADER_SIZE};
use crate::format::page::{DecompressError, Decompressor};

/// Bytes of a bitmap that are looked at together: the pages before each of them are counted once.
const CHUNK: u64 = 1024;

/// More ranges of RAM than any machine has; each costs memory.
const MAX_RANGES: usize = 1 << 20;

/// Why a kdump-compressed file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KdumpError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// The header is damaged.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A part of it is not in the file, or larger than it can be.
    #[error("its {what} at offset {offset:#x} with {length:#x} bytes is not in the file or absurd")]
    Part {
        /// Which.
        what: &'static str,
        /// Where it should be.
        offset: u64,
        /// How long.
        length: u64,
    },
    /// It is one of several files.
    #[error("it is a part of a split dump: put the parts together with makedumpfile --reassemble")]
    Split,
    /// The bitmap has noise.
    #[error("its bitmap has more than {MAX_RANGES} ranges of RAM")]
    Ranges,
    /// The descriptor of a page is damaged, or its data was never written.
    #[error("the descriptor of page frame {pfn:#x} points to {size:#x} bytes at {offset:#x}")]
    Descriptor {
        /// The page.
        pfn: u64,
        /// Where its data should be.
        offset: u64,
        /// How long it should be.
        size: u32,
    },
    /// A page cannot be decompressed.
    #[error("page frame {pfn:#x} cannot be had")]
    Page {
        /// The page.
        pfn: u64,
        /// What is wrong.
        source: DecompressError,
    },
}

/// An open kdump-compressed file.
pub struct Kdump {
    input: Input,
    path: PathBuf,
    header: Header,
    /// The pages before each chunk of the second bitmap.
    before: Vec<u64>,
    /// All the pages that the second bitmap has.
    count: u64,
    /// Those that are not in use: making one costs more than a page does.
    decompressors: Mutex<Vec<Decompressor>>,
}

impl std::fmt::Debug for Kdump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kdump").field("path", &self.path).field("header", &self.header).finish()
    }
}

impl Kdump {
    pub(super) fn open(path: &Path, input: Input) -> Result<(Self, Headers), Error> {
        let failed = |source| Error::Kdump { path: path.to_owned(), source };
        let header = read_header(&input).map_err(failed)?;
        let notes = read_part(&input, "notes", header.notes.offset, header.notes.size);
        let notes = notes.map_err(failed)?;
        let text = header.vmcoreinfo;
        let text = read_part(&input, "VMCOREINFO", text.offset, text.size).map_err(failed)?;
        let loads = ram(&input, &header).map_err(failed)?;
        let (before, count) = count(&input, &header).map_err(failed)?;
        let headers = Headers {
            size: input.size(),
            machine: header.machine,
            endianness: header.endianness,
            is_64: header.machine != object::elf::EM_386,
            page_size: header.block_size.into(),
            loads,
            notes,
            info: VmcoreInfo::parse(&text),
        };
        let decompressors = Mutex::default();
        let path = path.to_owned();
        Ok((Self { input, path, header, before, count, decompressors }, headers))
    }

    /// The file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many pages the file has.
    pub fn pages(&self) -> u64 {
        self.count
    }

    /// Which of the pages from `first` on are in the file.
    pub(super) fn dumped(&self, first: u64, dumped: &mut [bool]) -> Result<(), Error> {
        let failed = |source| Error::Kdump { path: self.path.clone(), source };
        let end = first.saturating_add(dumped.len() as u64).min(self.header.max_mapnr);
        dumped.fill(false);
        if first >= end {
            return Ok(());
        }
        let (from, to) = (first / 8, end.div_ceil(8));
        let bytes = self.bitmap(from, to - from).map_err(failed)?;
        for (pfn, dumped) in (first..end).zip(dumped) {
            *dumped = has_bit(&bytes, pfn - from * 8);
        }
        Ok(())
    }

    /// The descriptor of a page; `None` if it is not in the file.
    pub fn descriptor(&self, pfn: u64) -> Result<Option<Descriptor>, Error> {
        self.find(pfn).map_err(|source| Error::Kdump { path: self.path.clone(), source })
    }

    /// Fills `page`, which is as long as a block.
    pub(super) fn read_page(&self, pfn: u64, page: &mut [u8]) -> Result<(), Error> {
        let address = pfn * u64::from(self.header.block_size);
        let descriptor = self.descriptor(pfn)?.ok_or(Error::NotDumped { address })?;
        self.decompress(pfn, descriptor, page)
            .map_err(|source| Error::Kdump { path: self.path.clone(), source })
    }

    fn decompress(
        &self,
        pfn: u64,
        descriptor: Descriptor,
        page: &mut [u8],
    ) -> Result<(), KdumpError> {
        let Descriptor { offset, size, flags } = descriptor;
        let in_file = offset.checked_add(size.into()).is_some_and(|end| end <= self.input.size());
        // What is larger compressed is not kept so; snappy may be a little.
        if !in_file || size > 2 * self.header.block_size {
            return Err(KdumpError::Descriptor { pfn, offset, size });
        }
        let mut data = vec![0; size as usize];
        self.input.read_exact_at(&mut data, offset)?;
        let pool = || self.decompressors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decompressor = pool().pop().unwrap_or_default();
        let done = decompressor.decompress(flags, &data, page);
        pool().push(decompressor);
        done.map_err(|source| KdumpError::Page { pfn, source })
    }

    fn find(&self, pfn: u64) -> Result<Option<Descriptor>, KdumpError> {
        if pfn >= self.header.max_mapnr {
            return Ok(None);
        }
        let chunk = pfn / 8 / CHUNK;
        let from = chunk * CHUNK;
        let bytes = self.bitmap(from, pfn / 8 + 1 - from)?;
        let bit = pfn - from * 8;
        if !has_bit(&bytes, bit) {
            return Ok(None);
        }
        let before = usize::try_from(chunk).ok().and_then(|chunk| self.before.get(chunk));
        let whole: u64 = bytes[..bytes.len() - 1].iter().map(|byte| ones(*byte)).sum();
        let last = bytes.last().map_or(0, |byte| ones(byte & ((1 << (bit % 8)) - 1)));
        let number = before.unwrap_or(&0) + whole + last;
        let mut descriptor = [0; Descriptor::SIZE];
        let offset = self.header.descriptors_offset() + number * Descriptor::SIZE as u64;
        self.input.read_exact_at(&mut descriptor, offset)?;
        Ok(Some(Descriptor::decode(&descriptor, self.header.endianness)))
    }

    /// Bytes of the second bitmap.
    fn bitmap(&self, at: u64, length: u64) -> Result<Vec<u8>, KdumpError> {
        let offset = self.header.bitmap_offset() + self.header.bitmap_size() + at;
        read_part(&self.input, "bitmap", offset, length)
    }
}

fn read_header(input: &Input) -> Result<Header, KdumpError> {
    let mut first = [0; HEADER_SIZE];
    input.read_exact_at(&mut first, 0)?;
    let header = Header::decode::<KdumpError>(&first, |block_size| {
        let mut second = [0; SUB_HEADER_SIZE];
        input.read_exact_at(&mut second, block_size.into())?;
        Ok(second)
    })?;
    if header.split {
        return Err(KdumpError::Split);
    }
    let (offset, length) = (header.bitmap_offset(), 2 * header.bitmap_size());
    let in_file = offset.checked_add(length).is_some_and(|end| end <= input.size());
    let fits = header.max_mapnr <= MAX_PFN && header.max_mapnr.div_ceil(8) <= header.bitmap_size();
    if !in_file || !fits {
        return Err(KdumpError::Part { what: "bitmap", offset, length });
    }
    Ok(header)
}

fn read_part(
    input: &Input,
    what: &'static str,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, KdumpError> {
    let in_file = offset.checked_add(length).is_some_and(|end| end <= input.size());
    let size = usize::try_from(length).ok().filter(|_| in_file && length <= MAX_NOTES);
    let size = size.ok_or(KdumpError::Part { what, offset, length })?;
    let mut bytes = vec![0; size];
    input.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Calls `each` with the number of the first bit and the bytes of each chunk of a bitmap; bits
/// from `max_mapnr` on are cleared.
fn for_each_chunk(
    input: &Input,
    header: &Header,
    offset: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), KdumpError>,
) -> Result<(), KdumpError> {
    /// Chunks that are read at once.
    const AT_ONCE: u64 = 256;
    let size = header.max_mapnr.div_ceil(8);
    let mut at = 0;
    while at < size {
        let length = (CHUNK * AT_ONCE).min(size - at);
        let mut bytes = read_part(input, "bitmap", offset + at, length)?;
        if at + length == size && !header.max_mapnr.is_multiple_of(8) {
            let valid = (1u8 << (header.max_mapnr % 8)) - 1;
            bytes.last_mut().into_iter().for_each(|last| *last &= valid);
        }
        for (start, chunk) in (at..).step_by(1024).zip(bytes.chunks(1024)) {
            each(start * 8, chunk)?;
        }
        at += length;
    }
    Ok(())
}

/// The ranges of the first bitmap.
fn ram(input: &Input, header: &Header) -> Result<Vec<Load>, KdumpError> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for_each_chunk(input, header, header.bitmap_offset(), |first, bytes| {
        for (byte_pfn, byte) in (first..).step_by(8).zip(bytes) {
            if *byte == 0 {
                continue;
            }
            for pfn in (byte_pfn..byte_pfn + 8).filter(|pfn| byte & (1 << (pfn % 8)) != 0) {
                match ranges.last_mut() {
                    Some(last) if last.end == pfn => last.end += 1,
                    _ => ranges.push(pfn..pfn + 1),
                }
            }
        }
        if ranges.len() > MAX_RANGES { Err(KdumpError::Ranges) } else { Ok(()) }
    })?;
    let page_size = u64::from(header.block_size);
    let load = |range: Range<u64>| Load {
        offset: 0,
        p_paddr: range.start * page_size,
        p_vaddr: 0,
        p_filesz: (range.end - range.start) * page_size,
        p_memsz: (range.end - range.start) * page_size,
    };
    Ok(ranges.into_iter().map(load).collect())
}

/// The pages before each chunk of the second bitmap, and all of them.
fn count(input: &Input, header: &Header) -> Result<(Vec<u64>, u64), KdumpError> {
    let mut before = Vec::new();
    let mut count = 0;
    let offset = header.bitmap_offset() + header.bitmap_size();
    for_each_chunk(input, header, offset, |_, bytes| {
        before.push(count);
        count += bytes.iter().map(|byte| ones(*byte)).sum::<u64>();
        Ok(())
    })?;
    Ok((before, count))
}

fn ones(byte: u8) -> u64 {
    byte.count_ones().into()
}

fn has_bit(bytes: &[u8], bit: u64) -> bool {
    let byte = usize::try_from(bit / 8).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}
