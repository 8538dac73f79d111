//! ELF core files: PT_LOADs are the ranges of RAM, PT_NOTEs hold VMCOREINFO and registers.

use std::path::Path;

use object::Endianness;
use object::elf::{
    EM_386, EM_AARCH64, EM_PPC64, EM_X86_64, ET_CORE, FileHeader32, FileHeader64, Machine, PT_LOAD,
    PT_NOTE,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};

use super::input::Input;
use super::{Error, Headers, Load, MAX_NOTES, MAX_PFN};

/// More segments than any core has; each costs memory.
const MAX_SEGMENTS: u32 = 1 << 20;

pub(super) fn parse(path: &Path, input: &Input) -> Result<Headers, Error> {
    let elf = |source| Error::Elf { path: path.to_owned(), source };
    let data = &ReadCache::new(input.reader());
    match FileKind::parse(data).map_err(elf)? {
        FileKind::Elf32 => parse_class::<FileHeader32<Endianness>>(path, data, input.size()),
        FileKind::Elf64 => parse_class::<FileHeader64<Endianness>>(path, data, input.size()),
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
    if e_type != ET_CORE {
        return Err(Error::NotACore { path: path.to_owned(), e_type: e_type.0 });
    }
    let segments = header.phnum(endian, data).map_err(elf)?;
    if segments > MAX_SEGMENTS {
        return Err(Error::Segments { path: path.to_owned(), segments });
    }
    let mut loads = Vec::new();
    let mut notes = Vec::new();
    for segment in header.program_headers(endian, data).map_err(elf)? {
        let offset: u64 = segment.p_offset(endian).into();
        let length: u64 = segment.p_filesz(endian).into();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::Segment { path: path.to_owned(), offset, length, size });
        }
        match segment.p_type(endian) {
            PT_LOAD => {
                let p_paddr = segment.p_paddr(endian).into();
                let p_memsz: u64 = segment.p_memsz(endian).into();
                if p_memsz.max(length) > (MAX_PFN << 12).saturating_sub(p_paddr) {
                    return Err(Error::Memory { path: path.to_owned(), address: p_paddr });
                }
                loads.push(Load {
                    offset,
                    p_paddr,
                    p_vaddr: segment.p_vaddr(endian).into(),
                    p_filesz: length,
                    p_memsz: p_memsz.max(length),
                });
            }
            // All of them: they may be the same bytes again and again.
            PT_NOTE if length > MAX_NOTES.saturating_sub(notes.len() as u64) => {
                return Err(Error::Notes { path: path.to_owned(), offset, length });
            }
            PT_NOTE => {
                let bytes = segment.data(endian, data).map_err(|()| Error::Notes {
                    path: path.to_owned(),
                    offset,
                    length,
                })?;
                notes.extend_from_slice(bytes);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
            // Cores have no other segments that matter here; readers skip what they do not know.
            _ => continue,
        }
    }
    let machine = header.e_machine(endian);
    let is_64 = has_64_bit_pointers(machine, header.is_type_64());
    let info = super::notes::vmcoreinfo(&notes, endian);
    let page_size = super::page_size(&info, machine);
    Ok(Headers { size, machine, endianness: endian, is_64, page_size, loads, notes, info })
}

fn has_64_bit_pointers(machine: Machine, has_64_bit_headers: bool) -> bool {
    match machine {
        EM_386 => false,
        EM_X86_64 | EM_PPC64 | EM_AARCH64 => true,
        _ => has_64_bit_headers,
    }
}
