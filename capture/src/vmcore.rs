//! The dead kernel's memory: `/proc/vmcore`, or a file saved from it. An ELF core file whose
//! PT_LOADs are the ranges of RAM and whose notes hold VMCOREINFO
//! (Documentation/admin-guide/kdump/vmcoreinfo.rst, Linux 6.1).

mod elf;
mod info;
mod input;
mod kdump;
mod notes;
mod segments;
mod window;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{EM_PPC64, Machine};

use crate::address::{Physical, Virtual};
use crate::format::kdump::SIGNATURE;
pub use info::{InfoError, VmcoreInfo};
use input::Input;
pub use kdump::{Kdump, KdumpError};
pub use notes::Note;
use segments::Segments;

/// Where the capture kernel has it.
pub const PATH: &str = "/proc/vmcore";

/// More than the notes of the largest machine have (about 400 bytes a CPU).
const MAX_NOTES: u64 = 64 << 20;

/// More page frames than the address space of any machine has in use: 256 TiB in pages of 4 KiB.
const MAX_PFN: u64 = 1 << 36;

/// Why a core cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The core.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is none: if it is the kernel's own, the running kernel was not started by a crash.
    #[error(
        "{} does not exist{}", path.display(),
        if path == Path::new(PATH) {
            ": this kernel was not started by a crash, or without elfcorehdr="
        } else {
            ""
        }
    )]
    NoCore {
        /// The core.
        path: PathBuf,
    },
    /// Its headers are not those of an ELF file.
    #[error("{} has damaged ELF headers", path.display())]
    Elf {
        /// The core.
        path: PathBuf,
        /// What is wrong.
        source: object::Error,
    },
    /// It is not an ELF core file.
    #[error("{} is not an ELF core file of a kernel (e_type {e_type})", path.display())]
    NotACore {
        /// The file.
        path: PathBuf,
        /// What it is; 0 if it is no ELF file at all.
        e_type: u16,
    },
    /// Its notes have an absurd size.
    #[error(
        "{}: the PT_NOTEs up to that at {offset:#x} with {length} bytes claim more than {MAX_NOTES}",
        path.display()
    )]
    Notes {
        /// The file.
        path: PathBuf,
        /// Offset of the notes in the file.
        offset: u64,
        /// Their size.
        length: u64,
    },
    /// A segment lies outside the file.
    #[error(
        "{}: the segment at file offset {offset:#x} with {length:#x} bytes ends outside the file \
         of {size:#x} bytes", path.display()
    )]
    Segment {
        /// The core.
        path: PathBuf,
        /// Where it starts.
        offset: u64,
        /// How long it is.
        length: u64,
        /// How long the file is.
        size: u64,
    },
    /// It has more segments than a core can have.
    #[error("{} claims to have {segments} segments", path.display())]
    Segments {
        /// The core.
        path: PathBuf,
        /// How many.
        segments: u32,
    },
    /// A segment describes memory that no machine has.
    #[error("{}: the memory at physical address {address:#x} ends outside any machine's", path.display())]
    Memory {
        /// The core.
        path: PathBuf,
        /// Where it starts.
        address: u64,
    },
    /// It is a damaged kdump-compressed file.
    #[error("{} cannot be used as a kdump-compressed file", path.display())]
    Kdump {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KdumpError,
    },
    /// No segment has this address.
    #[error("the dump has no memory at physical address {address:#x}")]
    NotDumped {
        /// The address.
        address: u64,
    },
}

/// A range of the dead kernel's RAM in the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Where its bytes start in the file; 0 in a kdump-compressed file.
    pub offset: u64,
    /// Physical address of the first byte.
    pub p_paddr: u64,
    /// What the file has for [`virtual_start`](Self::virtual_start).
    pub p_vaddr: u64,
    /// Length in bytes of what is in the file.
    pub p_filesz: u64,
    /// Length in bytes of the RAM: the rest of it was not dumped.
    pub p_memsz: u64,
}

impl Load {
    /// Virtual address of the first byte, if the loader knew one: what the kernel does not map has 0
    /// or all ones there, 32 of them in a 32-bit file.
    pub fn virtual_start(&self) -> Option<Virtual> {
        let is_known = ![0, u64::from(u32::MAX), u64::MAX].contains(&self.p_vaddr);
        is_known.then_some(Virtual(self.p_vaddr))
    }
}

/// What the headers and notes of a core say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Size of the whole file in bytes.
    pub size: u64,
    /// `e_machine`.
    pub machine: Machine,
    /// Byte order of the dead kernel.
    pub endianness: Endianness,
    /// Whether its pointers have 64 bits. The class of the file does not say it: a 32-bit machine
    /// with more than 4 GiB has 64-bit headers, and 32-bit headers can be asked for on a 64-bit one.
    pub is_64: bool,
    /// Size of its pages in bytes.
    pub page_size: u64,
    /// Its RAM.
    pub loads: Vec<Load>,
    /// Its ELF notes: the registers of its CPUs, VMCOREINFO.
    pub notes: Vec<u8>,
    /// What it said about itself; empty if the core has no such note.
    pub info: VmcoreInfo,
}

impl Headers {
    /// Its ELF notes one by one.
    pub fn each_note(&self) -> impl Iterator<Item = Note<'_>> {
        notes::notes(&self.notes, self.endianness)
    }

    /// The page frames that are RAM, at least in part, in order.
    pub fn ram(&self) -> Vec<Range<u64>> {
        let frames = |load: &Load| {
            let end = load.p_paddr + load.p_memsz;
            load.p_paddr / self.page_size..end.div_ceil(self.page_size)
        };
        let loads = self.loads.iter().filter(|load| load.p_memsz > 0);
        let mut sorted: Vec<Range<u64>> = loads.map(frames).collect();
        sorted.sort_by_key(|range| range.start);
        let mut ram: Vec<Range<u64>> = Vec::new();
        for range in sorted {
            match ram.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                Some(_) | None => ram.push(range),
            }
        }
        ram
    }
}

/// An open core.
#[derive(Debug)]
pub struct Vmcore {
    path: PathBuf,
    headers: Headers,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Elf { input: Input, segments: Segments },
    Kdump(Box<Kdump>),
}

impl Vmcore {
    /// Opens a core and reads its headers and notes.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoCore { path: path.to_owned() });
            }
            other => other.map_err(failed)?,
        };
        let input = Input::new(file).map_err(failed)?;
        let mut signature = [0; SIGNATURE.len()];
        let is_kdump = input.read_exact_at(&mut signature, 0).is_ok() && signature == *SIGNATURE;
        let (content, headers) = if is_kdump {
            let (kdump, headers) = Kdump::open(path, input)?;
            (Content::Kdump(Box::new(kdump)), headers)
        } else {
            let headers = elf::parse(path, &input)?;
            let segments = Segments::new(&headers.loads);
            (Content::Elf { input, segments }, headers)
        };
        Ok(Self { path: path.to_owned(), headers, content })
    }

    /// What its headers and notes say.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The kdump-compressed file that it is, if it is one.
    pub fn kdump(&self) -> Option<&Kdump> {
        match &self.content {
            Content::Elf { .. } => None,
            Content::Kdump(kdump) => Some(kdump),
        }
    }

    /// Fills `buffer` with the memory at physical address `address`.
    pub fn read_physical(&self, address: Physical, buffer: &mut [u8]) -> Result<(), Error> {
        match &self.content {
            Content::Elf { input, segments } => {
                self.read_segments(input, segments, address.0, buffer)
            }
            Content::Kdump(kdump) => self.read_pages_of(kdump, address.0, buffer),
        }
    }

    /// Fills `buffer` with whole pages from page frame `first` on. What the core does not have of
    /// them is zero: RAM may begin and end within a page.
    pub fn read_pages(&self, first: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let start = first * self.headers.page_size;
        match &self.content {
            Content::Elf { input, segments } => {
                let end = start + buffer.len() as u64;
                let mut filled = start;
                for part in segments.within(start..end) {
                    let index = |address| usize::try_from(address - start).unwrap_or(usize::MAX);
                    buffer[index(filled)..index(part.start)].fill(0);
                    let to = &mut buffer[index(part.start)..index(part.end)];
                    self.read_segments(input, segments, part.start, to)?;
                    filled = part.end;
                }
                let index = usize::try_from(filled - start).unwrap_or(usize::MAX);
                buffer[index..].fill(0);
                Ok(())
            }
            Content::Kdump(kdump) => self.read_pages_of(kdump, start, buffer),
        }
    }

    /// Which of the pages from page frame `first` on have content, at least in part.
    pub fn dumped(&self, first: u64, dumped: &mut [bool]) -> Result<(), Error> {
        match &self.content {
            Content::Elf { segments, .. } => {
                let page_size = self.headers.page_size;
                let end = first + dumped.len() as u64;
                dumped.fill(false);
                for part in segments.within(first * page_size..end * page_size) {
                    let pages =
                        part.start / page_size - first..part.end.div_ceil(page_size) - first;
                    let index = |pfn| usize::try_from(pfn).unwrap_or(usize::MAX);
                    dumped[index(pages.start)..index(pages.end)].fill(true);
                }
                Ok(())
            }
            Content::Kdump(kdump) => kdump.dumped(first, dumped),
        }
    }

    fn read_segments(
        &self,
        input: &Input,
        segments: &Segments,
        mut address: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), Error> {
        while !buffer.is_empty() {
            let (offset, available) =
                segments.locate(address).ok_or(Error::NotDumped { address })?;
            let length = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
            let (now, later) = buffer.split_at_mut(length);
            input
                .read_exact_at(now, offset)
                .map_err(|source| Error::Read { path: self.path.clone(), source })?;
            // In range: the segment goes on to at least this address.
            address += length as u64;
            buffer = later;
        }
        Ok(())
    }

    fn read_pages_of(
        &self,
        kdump: &Kdump,
        mut address: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), Error> {
        let page_size = self.headers.page_size;
        let mut page = Vec::new();
        while !buffer.is_empty() {
            let skip = usize::try_from(address % page_size).unwrap_or_default();
            let size = usize::try_from(page_size).unwrap_or(usize::MAX);
            let length = buffer.len().min(size - skip);
            let (now, later) = buffer.split_at_mut(length);
            if length == size {
                kdump.read_page(address / page_size, now)?;
            } else {
                page.resize(size, 0);
                kdump.read_page(address / page_size, &mut page)?;
                now.copy_from_slice(&page[skip..skip + length]);
            }
            buffer = later;
            let next = address.checked_add(length as u64);
            address = match next {
                Some(next) => next,
                None if buffer.is_empty() => break,
                None => return Err(Error::NotDumped { address }),
            };
        }
        Ok(())
    }
}

/// The page size that the dead kernel states, or the usual one of its machine.
fn page_size(info: &VmcoreInfo, machine: Machine) -> u64 {
    info.page_size().unwrap_or(if machine == EM_PPC64 { 65536 } else { 4096 })
}

#[cfg(test)]
mod tests;
