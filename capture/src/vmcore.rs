//! The dead kernel's memory: `/proc/vmcore`, or a file saved from it. An ELF core file whose
//! PT_LOADs are the ranges of RAM and whose notes hold VMCOREINFO
//! (Documentation/admin-guide/kdump/vmcoreinfo.rst, Linux 6.1).

mod info;
mod window;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{
    EM_386, EM_AARCH64, EM_PPC64, EM_X86_64, FileHeader32, FileHeader64, Machine, PT_LOAD, PT_NOTE,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};

use crate::address::Physical;
pub use info::{InfoError, VmcoreInfo};
pub use window::WINDOW;

/// Where the capture kernel has it.
pub const PATH: &str = "/proc/vmcore";

/// The name of the note that the kernel's own information is in.
const VMCOREINFO_NOTE: &[u8] = b"VMCOREINFO";

/// More than the notes of the largest machine have (about 400 bytes a CPU).
const MAX_NOTES: u64 = 64 << 20;

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
    /// The running kernel was not started by a crash.
    #[error(
        "{} does not exist: this kernel was not started by a crash, or without elfcorehdr=",
        path.display()
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
    #[error("{}: a PT_NOTE at {offset:#x} claims {length} bytes, more than {MAX_NOTES}", path.display())]
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
    /// No segment has this address.
    #[error("the dump has no memory at physical address {address:#x}")]
    NotDumped {
        /// The address.
        address: u64,
    },
}

/// A range of the dead kernel's RAM in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where its bytes start in the file.
    pub offset: u64,
    /// Physical address of the first byte.
    pub p_paddr: u64,
    /// Virtual address of the first byte, or 0 if the loader did not know it.
    pub p_vaddr: u64,
    /// Length in bytes.
    pub p_filesz: u64,
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
    /// Its RAM.
    pub loads: Vec<Load>,
    /// What it said about itself; empty if the core has no such note.
    pub info: VmcoreInfo,
}

/// An open core.
#[derive(Debug)]
pub struct Vmcore {
    file: File,
    path: PathBuf,
    headers: Headers,
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
        let size = file.metadata().map_err(failed)?.len();
        let headers = parse(path, &ReadCache::new(&file), size)?;
        Ok(Self { file, path: path.to_owned(), headers })
    }

    /// What its headers and notes say.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The bytes of the file at `offset`, at most [`WINDOW`] of them.
    pub fn window(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let length = (self.headers.size.saturating_sub(offset)).min(WINDOW as u64);
        window::read(&self.file, offset, length)
            .map_err(|source| Error::Read { path: self.path.clone(), source })
    }

    /// Fills `buffer` with the memory at physical address `address`.
    pub fn read_physical(&self, address: Physical, mut buffer: &mut [u8]) -> Result<(), Error> {
        let mut address = address.0;
        while !buffer.is_empty() {
            let (offset, available) = self.locate(address)?;
            let length = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
            let (now, later) = buffer.split_at_mut(length);
            self.file
                .read_exact_at(now, offset)
                .map_err(|source| Error::Read { path: self.path.clone(), source })?;
            // In range: the segment goes on to at least this address.
            address = address.wrapping_add(length as u64);
            buffer = later;
        }
        Ok(())
    }

    /// File offset of a physical address, and how many bytes follow it in its segment.
    fn locate(&self, address: u64) -> Result<(u64, u64), Error> {
        let within = |load: &Load| {
            let skip = address.checked_sub(load.p_paddr)?;
            let available = load.p_filesz.checked_sub(skip).filter(|length| *length > 0)?;
            Some((load.offset.checked_add(skip)?, available))
        };
        self.headers.loads.iter().find_map(within).ok_or(Error::NotDumped { address })
    }
}

fn parse<'a>(path: &Path, data: impl ReadRef<'a>, size: u64) -> Result<Headers, Error> {
    let elf = |source| Error::Elf { path: path.to_owned(), source };
    match FileKind::parse(data).map_err(elf)? {
        FileKind::Elf32 => parse_class::<FileHeader32<Endianness>>(path, data, size),
        FileKind::Elf64 => parse_class::<FileHeader64<Endianness>>(path, data, size),
        _ => Err(Error::NotACore { path: path.to_owned(), e_type: 0 }),
    }
}

fn parse_class<'a, E: FileHeader<Endian = Endianness>>(
    path: &Path,
    data: impl ReadRef<'a>,
    size: u64,
) -> Result<Headers, Error> {
    let elf = |source| Error::Elf { path: path.to_owned(), source };
    let header = E::parse(data).map_err(elf)?;
    let endian = header.endian().map_err(elf)?;
    let e_type = header.e_type(endian);
    if e_type != object::elf::ET_CORE {
        return Err(Error::NotACore { path: path.to_owned(), e_type: e_type.0 });
    }
    let mut loads = Vec::new();
    let mut info = VmcoreInfo::default();
    for segment in header.program_headers(endian, data).map_err(elf)? {
        let offset: u64 = segment.p_offset(endian).into();
        let length: u64 = segment.p_filesz(endian).into();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::Segment { path: path.to_owned(), offset, length, size });
        }
        match segment.p_type(endian) {
            PT_LOAD => loads.push(Load {
                offset,
                p_paddr: segment.p_paddr(endian).into(),
                p_vaddr: segment.p_vaddr(endian).into(),
                p_filesz: length,
            }),
            PT_NOTE if length > MAX_NOTES => {
                return Err(Error::Notes { path: path.to_owned(), offset, length });
            }
            PT_NOTE => {
                let Some(mut notes) = segment.notes(endian, data).map_err(elf)? else { continue };
                while let Some(note) = notes.next().map_err(elf)? {
                    if note.name() == VMCOREINFO_NOTE {
                        info = VmcoreInfo::parse(note.desc());
                    }
                }
            }
            // Cores have no other segments that matter here; readers skip what they do not know.
            _ => continue,
        }
    }
    let machine = header.e_machine(endian);
    let is_64 = has_64_bit_pointers(machine, header.is_type_64());
    Ok(Headers { size, machine, endianness: endian, is_64, loads, info })
}

fn has_64_bit_pointers(machine: Machine, has_64_bit_headers: bool) -> bool {
    match machine {
        EM_386 => false,
        EM_X86_64 | EM_PPC64 | EM_AARCH64 => true,
        _ => has_64_bit_headers,
    }
}

#[cfg(test)]
mod tests;
