//! ELF core headers ("elfcorehdr"): they tell the capture kernel where the dead kernel's memory
//! and its notes are. The capture kernel serves them as /proc/vmcore.
//!
//! `p_offset` is a physical address here: where the capture kernel reads the bytes that belong
//! to `p_paddr` (kernel 6.1 fs/proc/vmcore.c; Documentation/admin-guide/kdump/kdump.rst).

use alloc::vec::Vec;

use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ELFMAG, ELFOSABI_NONE, ET_CORE, EV_CURRENT,
    FileFlags, FileHeader32, FileHeader64, Ident, Machine, PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE,
    ProgramFlags, ProgramHeader32, ProgramHeader64, ProgramType, SymbolSection,
};
use object::endian::{Endianness, U16, U32, U64};
use object::pod::bytes_of;

use crate::facts::{KernelText, Note};
use crate::range::{self, PhysRange};

/// Class of the headers: what the capture kernel can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Addresses below 4 GiB only.
    Elf32,
    /// Any address.
    Elf64,
}

/// What the capture kernel takes for core headers of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 32 or 64 bits.
    pub class: Class,
    /// Byte order.
    pub endian: Endianness,
    /// `e_machine`
    pub machine: Machine,
}

/// Memory that purgatory copies before the capture kernel uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What is copied.
    pub source: PhysRange,
    /// Physical address of the copy.
    pub destination: u64,
}

/// What the headers describe.
#[derive(Clone, Copy, Debug)]
pub struct Core<'a> {
    /// Notes of each CPU, then they are listed in this order.
    pub cpu_notes: &'a [Note],
    /// The vmcoreinfo note.
    pub vmcoreinfo: Option<Note>,
    /// The dead kernel's image, for tools that look up symbols by virtual address.
    pub kernel_text: Option<KernelText>,
    /// Memory to be dumped, disjoint.
    pub ram: &'a [PhysRange],
    /// Part of `ram` whose content is elsewhere.
    pub backup: Option<Backup>,
    /// Virtual address of physical address 0 in the dead kernel's linear map, if known.
    pub page_offset: Option<u64>,
    /// Physical address at which that map ends, if it does not show all of `ram`.
    pub linear_map_end: Option<u64>,
}

/// The headers cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfcoreError {
    /// More than `e_phnum` can count; the capture kernel knows no extended numbering.
    #[error(
        "{count} program headers are needed for the CPUs' notes and the memory ranges; the \
         capture kernel reads at most {max}", max = PHNUM_MAX
    )]
    TooMany {
        /// How many would be needed.
        count: usize,
    },
    /// ELF-32 cannot express an address.
    #[error(
        "memory at {range} is above the 4 GiB that ELF-32 core headers can describe; use ELF-64"
    )]
    Above4G {
        /// What cannot be expressed.
        range: PhysRange,
    },
}

/// 0xffff is PN_XNUM, which means "look elsewhere".
const PHNUM_MAX: usize = 0xfffe;

/// The headers: ELF header and program header table.
pub fn headers(core: &Core<'_>, format: Format) -> Result<Vec<u8>, ElfcoreError> {
    let segments = core.segments();
    let phnum = u16::try_from(segments.len())
        .ok()
        .filter(|count| usize::from(*count) <= PHNUM_MAX)
        .ok_or(ElfcoreError::TooMany { count: segments.len() })?;
    let mut bytes = Vec::new();
    match format.class {
        Class::Elf64 => {
            bytes.extend_from_slice(bytes_of(&format.file_header64(phnum)));
            for segment in &segments {
                bytes.extend_from_slice(bytes_of(&segment.header64(format.endian)));
            }
        }
        Class::Elf32 => {
            bytes.extend_from_slice(bytes_of(&format.file_header32(phnum)));
            for segment in &segments {
                bytes.extend_from_slice(bytes_of(&segment.header32(format.endian)?));
            }
        }
    }
    Ok(bytes)
}

/// Readers take all-ones for "no virtual address".
const NO_VIRTUAL_ADDRESS: u64 = u64::MAX;

/// A program header, before it has a class.
struct CoreSegment {
    p_type: ProgramType,
    p_flags: ProgramFlags,
    p_offset: u64,
    p_vaddr: u64,
    p_paddr: u64,
    size: u64,
}

impl Core<'_> {
    fn segments(&self) -> Vec<CoreSegment> {
        let notes = self.cpu_notes.iter().chain(&self.vmcoreinfo).map(CoreSegment::note);
        let text = self.kernel_text.iter().map(CoreSegment::text);
        notes.chain(text).chain(self.ram.iter().flat_map(|ram| self.ram_segments(*ram))).collect()
    }

    /// A RAM range, by address: what was backed up and what was not, what the linear map shows and
    /// what it does not.
    fn ram_segments(&self, ram: PhysRange) -> Vec<CoreSegment> {
        let backed_up = self.backup.as_ref().map(|backup| backup.source);
        let mut parts = range::subtract(&[ram], backed_up.as_slice());
        parts.extend(backed_up.and_then(|source| source.intersection(&ram)));
        let (mut mapped, mut unmapped) = (parts.clone(), Vec::new());
        if let Some(end) = self.linear_map_end {
            let (low, high) = (PhysRange::new(0, end), PhysRange::new(end, u64::MAX));
            mapped = parts.iter().filter_map(|part| part.intersection(&low)).collect();
            unmapped = parts.iter().filter_map(|part| part.intersection(&high)).collect();
        }
        let mapped = mapped.into_iter().map(|part| (part, self.linear_address(part.start)));
        let unmapped = unmapped.into_iter().map(|part| (part, NO_VIRTUAL_ADDRESS));
        let mut parts: Vec<_> = mapped.chain(unmapped).collect();
        parts.sort_unstable();
        let segment = |(part, p_vaddr): (PhysRange, u64)| CoreSegment {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_W | PF_X,
            p_offset: self.content_of(part),
            p_vaddr,
            p_paddr: part.start,
            size: part.len(),
        };
        parts.into_iter().map(segment).collect()
    }

    fn linear_address(&self, physical: u64) -> u64 {
        let offset = self.page_offset.and_then(|offset| offset.checked_add(physical));
        offset.unwrap_or(NO_VIRTUAL_ADDRESS)
    }

    /// Where the capture kernel finds the bytes of a part that is either backed up or not.
    fn content_of(&self, part: PhysRange) -> u64 {
        match self.backup {
            Some(Backup { source, destination }) if source.contains(&part) => {
                destination.saturating_add(part.start - source.start)
            }
            Some(_) | None => part.start,
        }
    }
}

impl CoreSegment {
    fn note(note: &Note) -> Self {
        Self {
            p_type: PT_NOTE,
            p_flags: ProgramFlags(0),
            p_offset: note.address,
            p_vaddr: 0,
            p_paddr: note.address,
            size: note.size,
        }
    }

    fn text(text: &KernelText) -> Self {
        Self {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_W | PF_X,
            p_offset: text.phys.start,
            p_vaddr: text.virt,
            p_paddr: text.phys.start,
            size: text.phys.len(),
        }
    }

    fn header64(&self, e: Endianness) -> ProgramHeader64<Endianness> {
        ProgramHeader64 {
            p_type: U32::new(e, self.p_type),
            p_flags: U32::new(e, self.p_flags),
            p_offset: U64::new(e, self.p_offset),
            p_vaddr: U64::new(e, self.p_vaddr),
            p_paddr: U64::new(e, self.p_paddr),
            p_filesz: U64::new(e, self.size),
            p_memsz: U64::new(e, self.size),
            p_align: U64::new(e, 0),
        }
    }

    fn header32(&self, e: Endianness) -> Result<ProgramHeader32<Endianness>, ElfcoreError> {
        let range = PhysRange::new(self.p_paddr, self.p_paddr.saturating_add(self.size));
        let word = |value: u64| u32::try_from(value).map_err(|_| ElfcoreError::Above4G { range });
        let size = U32::new(e, word(self.size)?);
        Ok(ProgramHeader32 {
            p_type: U32::new(e, self.p_type),
            p_offset: U32::new(e, word(self.p_offset)?),
            // A 64-bit virtual address means nothing to a 32-bit reader.
            p_vaddr: U32::new(e, u32::try_from(self.p_vaddr).unwrap_or(u32::MAX)),
            p_paddr: U32::new(e, word(self.p_paddr)?),
            p_filesz: size,
            p_memsz: size,
            p_flags: U32::new(e, self.p_flags),
            p_align: U32::new(e, 0),
        })
    }
}

const EHDR64: u16 = 64;
const PHDR64: u16 = 56;
const EHDR32: u16 = 52;
const PHDR32: u16 = 32;
const _: () = {
    assert!(size_of::<FileHeader64<Endianness>>() == EHDR64 as usize);
    assert!(size_of::<ProgramHeader64<Endianness>>() == PHDR64 as usize);
    assert!(size_of::<FileHeader32<Endianness>>() == EHDR32 as usize);
    assert!(size_of::<ProgramHeader32<Endianness>>() == PHDR32 as usize);
};

impl Format {
    fn file_header64(&self, phnum: u16) -> FileHeader64<Endianness> {
        let e = self.endian;
        FileHeader64 {
            e_ident: self.ident(),
            e_type: U16::new(e, ET_CORE),
            e_machine: U16::new(e, self.machine),
            e_version: U32::new(e, EV_CURRENT.0.into()),
            e_entry: U64::new(e, 0),
            e_phoff: U64::new(e, EHDR64.into()),
            e_shoff: U64::new(e, 0),
            e_flags: U32::new(e, FileFlags(0)),
            e_ehsize: U16::new(e, EHDR64),
            e_phentsize: U16::new(e, PHDR64),
            e_phnum: U16::new(e, phnum),
            e_shentsize: U16::new(e, 0),
            e_shnum: U16::new(e, 0),
            e_shstrndx: U16::new(e, SymbolSection(0)),
        }
    }

    fn file_header32(&self, phnum: u16) -> FileHeader32<Endianness> {
        let e = self.endian;
        FileHeader32 {
            e_ident: self.ident(),
            e_type: U16::new(e, ET_CORE),
            e_machine: U16::new(e, self.machine),
            e_version: U32::new(e, EV_CURRENT.0.into()),
            e_entry: U32::new(e, 0),
            e_phoff: U32::new(e, EHDR32.into()),
            e_shoff: U32::new(e, 0),
            e_flags: U32::new(e, FileFlags(0)),
            e_ehsize: U16::new(e, EHDR32),
            e_phentsize: U16::new(e, PHDR32),
            e_phnum: U16::new(e, phnum),
            e_shentsize: U16::new(e, 0),
            e_shnum: U16::new(e, 0),
            e_shstrndx: U16::new(e, SymbolSection(0)),
        }
    }

    fn ident(&self) -> Ident {
        Ident {
            magic: ELFMAG,
            class: match self.class {
                Class::Elf32 => ELFCLASS32,
                Class::Elf64 => ELFCLASS64,
            },
            data: match self.endian {
                Endianness::Little => ELFDATA2LSB,
                Endianness::Big => ELFDATA2MSB,
            },
            version: EV_CURRENT,
            os_abi: ELFOSABI_NONE,
            abi_version: 0,
            padding: [0; 7],
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use goblin::elf::Elf;
    use goblin::elf::header::ET_CORE;
    use object::elf::{EM_386, EM_PPC64, EM_X86_64};

    use super::*;

    const RAM: [PhysRange; 3] = [
        PhysRange::new(0x1000, 0x9fc00),
        PhysRange::new(0x10_0000, 0x400_0000),
        PhysRange::new(0x1_0000_0000, 0x1_8000_0000),
    ];
    const NOTES: [Note; 2] =
        [Note { address: 0x3f00_0000, size: 0x164 }, Note { address: 0x3f10_0000, size: 0x164 }];

    const ELF64: Format =
        Format { class: Class::Elf64, endian: Endianness::Little, machine: EM_X86_64 };
    const ELF32: Format =
        Format { class: Class::Elf32, endian: Endianness::Little, machine: EM_386 };

    fn core() -> Core<'static> {
        Core {
            cpu_notes: &NOTES,
            vmcoreinfo: Some(Note { address: 0x200_0000, size: 0x1024 }),
            kernel_text: Some(KernelText {
                virt: 0xffff_ffff_8100_0000,
                phys: PhysRange::new(0x100_0000, 0x300_0000),
            }),
            ram: &RAM,
            backup: Some(Backup {
                source: PhysRange::new(0x1000, 0xa_0000),
                destination: 0x3000_0000,
            }),
            page_offset: Some(0xffff_8880_0000_0000),
            linear_map_end: None,
        }
    }

    /// What an independent reader sees: (type, offset, vaddr, paddr, size).
    fn seen(bytes: &[u8]) -> Vec<(u32, u64, u64, u64, u64)> {
        let elf = Elf::parse(bytes).unwrap();
        assert_eq!(elf.header.e_type, ET_CORE);
        assert_eq!(elf.header.e_phoff, u64::from(elf.header.e_ehsize));
        let each = elf.program_headers.iter().map(|header| {
            assert_eq!(header.p_filesz, header.p_memsz);
            (header.p_type, header.p_offset, header.p_vaddr, header.p_paddr, header.p_memsz)
        });
        each.collect()
    }

    #[test]
    fn notes_text_and_memory_are_described_in_order() {
        let bytes = headers(&core(), ELF64).unwrap();
        let expected = [
            (4, 0x3f00_0000, 0, 0x3f00_0000, 0x164),
            (4, 0x3f10_0000, 0, 0x3f10_0000, 0x164),
            (4, 0x200_0000, 0, 0x200_0000, 0x1024),
            (1, 0x100_0000, 0xffff_ffff_8100_0000, 0x100_0000, 0x200_0000),
            (1, 0x3000_0000, 0xffff_8880_0000_1000, 0x1000, 0x9ec00),
            (1, 0x10_0000, 0xffff_8880_0010_0000, 0x10_0000, 0x3f0_0000),
            (1, 0x1_0000_0000, 0xffff_8881_0000_0000, 0x1_0000_0000, 0x8000_0000),
        ];
        assert_eq!(seen(&bytes), expected);
        assert_eq!(bytes.len(), 64 + 7 * 56);
    }

    #[test]
    fn both_byte_orders_say_the_same() {
        let big = Format { endian: Endianness::Big, machine: EM_PPC64, ..ELF64 };
        let bytes = headers(&core(), big).unwrap();
        assert_eq!(seen(&bytes), seen(&headers(&core(), ELF64).unwrap()));
        assert_eq!((bytes[5], &bytes[18..20]), (2, &[0, 21][..]));
    }

    #[test]
    fn a_range_that_is_backed_up_in_part_is_split() {
        let ram = [PhysRange::new(0, 0x20_0000)];
        let core = Core {
            cpu_notes: &[],
            vmcoreinfo: None,
            kernel_text: None,
            page_offset: None,
            ram: &ram,
            ..core()
        };
        let unknown = u64::MAX;
        let expected = [
            (1, 0, unknown, 0, 0x1000),
            (1, 0x3000_0000, unknown, 0x1000, 0x9_f000),
            (1, 0xa_0000, unknown, 0xa_0000, 0x16_0000),
        ];
        assert_eq!(seen(&headers(&core, ELF64).unwrap()), expected);
    }

    #[test]
    fn memory_that_the_linear_map_does_not_show_has_no_virtual_address() {
        let ram = [PhysRange::new(0x1000, 0x8000_0000), RAM[2]];
        let core = Core {
            cpu_notes: &[],
            vmcoreinfo: None,
            kernel_text: None,
            ram: &ram,
            page_offset: Some(0xc000_0000),
            linear_map_end: Some(0x37fe_0000),
            ..core()
        };
        let none = u64::MAX;
        let expected = [
            (1, 0x3000_0000, 0xc000_1000, 0x1000, 0x9_f000),
            (1, 0xa_0000, 0xc00a_0000, 0xa_0000, 0x37f4_0000),
            (1, 0x37fe_0000, none, 0x37fe_0000, 0x4802_0000),
            (1, 0x1_0000_0000, none, 0x1_0000_0000, 0x8000_0000),
        ];
        assert_eq!(seen(&headers(&core, ELF64).unwrap()), expected);
        let low = Core { ram: &ram[..1], ..core };
        assert_eq!(seen(&headers(&low, ELF32).unwrap())[2].2, u64::from(u32::MAX));
    }

    #[test]
    fn elf32_refuses_what_it_cannot_express() {
        let error = headers(&core(), ELF32).unwrap_err();
        assert_eq!(error, ElfcoreError::Above4G { range: RAM[2] });
        let low = Core { ram: &RAM[..2], page_offset: Some(0xc000_0000), ..core() };
        let bytes = headers(&low, ELF32).unwrap();
        assert_eq!(bytes.len(), 52 + 6 * 32);
        assert_eq!(seen(&bytes)[4], (1, 0x3000_0000, 0xc000_1000, 0x1000, 0x9ec00));
    }

    #[test]
    fn more_headers_than_can_be_counted_are_an_error() {
        let most = vec![Note { address: 0x1000, size: 8 }; PHNUM_MAX];
        let core = Core {
            cpu_notes: &most,
            vmcoreinfo: None,
            kernel_text: None,
            ram: &[],
            backup: None,
            page_offset: None,
            linear_map_end: None,
        };
        assert!(headers(&core, ELF64).is_ok());
        let core = Core { vmcoreinfo: Some(most[0]), ..core };
        let error = headers(&core, ELF64).unwrap_err();
        assert_eq!(error, ElfcoreError::TooMany { count: PHNUM_MAX + 1 });
    }
}
