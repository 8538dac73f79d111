//! A purgatory image, checked.

use alloc::vec::Vec;
use core::mem::size_of;

use object::Endianness;
use object::elf::{
    ET_DYN, FileHeader32, FileHeader64, PF_W, PF_X, PT_LOAD, SHF_ALLOC, SHT_CREL, SHT_NOBITS,
    SHT_RELR,
};
use object::read::elf::{
    FileHeader, ProgramHeader, Rel as _, Rela as _, SectionHeader, SectionTable,
};
use object::read::{Error as ElfError, FileKind};
use purgatory::params::{MAGIC, Params, SECTION, VERSION};

use crate::error::{Error, LoadProblem};
use crate::relocation::{Class, Format, Relative, Relocation};

/// Purgatory is a few pages; a larger span can only come from a damaged header.
const SPAN_MAX: u64 = 16 << 20;
/// kexec segments are whole pages; 4 KiB on every architecture or a multiple of it.
const PAGE: u64 = 4096;

/// A purgatory image: a static PIE in which everything that placing it needs is inside the file.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    pub(crate) format: Format,
    /// The PT_LOADs, by address, disjoint.
    pub(crate) loads: Vec<Load<'a>>,
    /// The address it is linked at: that of the first PT_LOAD, rounded down to `align`.
    pub(crate) link_base: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
    /// Offset of the entry from `link_base`.
    pub(crate) entry: u64,
    pub(crate) relocations: Vec<Relocation>,
    /// Offset of the parameter block from `link_base`.
    pub(crate) params: usize,
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub data: &'a [u8],
    pub vaddr: u64,
    pub memsz: u64,
    pub writable: bool,
    pub executable: bool,
}

impl Load<'_> {
    fn end(&self) -> u64 {
        // `loads` has checked that it does not overflow.
        self.vaddr.saturating_add(self.memsz)
    }

    /// Whether `length` bytes at `address` are in the part of it that comes from the file.
    fn holds(&self, address: u64, length: u64) -> bool {
        let Some(offset) = address.checked_sub(self.vaddr) else { return false };
        offset.checked_add(length).is_some_and(|end| end <= self.data.len() as u64)
    }
}

impl<'a> Image<'a> {
    /// Reads the ELF file of an image.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        match FileKind::parse(file).map_err(malformed("the identification"))? {
            FileKind::Elf32 => parse::<FileHeader32<Endianness>>(file, Class::Bits32),
            FileKind::Elf64 => parse::<FileHeader64<Endianness>>(file, Class::Bits64),
            // Without other features of `object` it knows ELF alone, but the enum is open.
            _ => Err(Error::NothingToLoad),
        }
    }

    /// Bytes that it takes in memory, zeroed parts and stack included: whole pages.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The alignment that its address needs: at least a page.
    pub fn align(&self) -> u64 {
        self.align
    }
}

fn parse<Elf>(file: &[u8], class: Class) -> Result<Image<'_>, Error>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let header = Elf::parse(file).map_err(malformed("the ELF header"))?;
    let endian = header.endian().map_err(malformed("the byte order"))?;
    let e_type = header.e_type(endian);
    if e_type != ET_DYN {
        return Err(Error::NotPie { e_type: e_type.0 });
    }
    let machine = header.e_machine(endian);
    let bits = class.width() * 8;
    let relative =
        Relative::of(machine, class).ok_or(Error::UnknownMachine { e_machine: machine.0, bits })?;

    let (loads, align) = loads(header, endian, file)?;
    let (Some(first), Some(last)) = (loads.first(), loads.last()) else {
        return Err(Error::NothingToLoad);
    };
    let link_base = first.vaddr & !(align - 1);
    let size = (last.end() - link_base).next_multiple_of(PAGE);
    let entry: u64 = header.e_entry(endian).into();
    let entry = entry_offset(&loads, entry, link_base)?;

    let sections = header.sections(endian, file).map_err(malformed("the section table"))?;
    let words = Words { loads: &loads, link_base, class };
    let relocations = relocations(&sections, endian, file, relative, &words)?;
    let params = params(&sections, endian, &loads)?;
    let params = words.offset(params);
    Ok(Image {
        format: Format { class, endian },
        link_base,
        size,
        align,
        entry,
        relocations,
        params,
        loads,
    })
}

/// The PT_LOADs and the largest alignment among them.
fn loads<'a, Elf>(
    header: &Elf,
    endian: Endianness,
    file: &'a [u8],
) -> Result<(Vec<Load<'a>>, u64), Error>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let headers =
        header.program_headers(endian, file).map_err(malformed("the program header table"))?;
    let mut loads: Vec<Load<'a>> = Vec::new();
    let mut align = PAGE;
    for header in headers.iter().filter(|header| header.p_type(endian) == PT_LOAD) {
        let load = load(header, endian, file)?;
        let first = loads.first().map_or(load.vaddr, |first| first.vaddr);
        let after = loads.last().map_or(0, Load::end);
        let problem = |problem| Error::Load { p_vaddr: load.vaddr, p_memsz: load.memsz, problem };
        if load.vaddr < after {
            return Err(problem(LoadProblem::Overlap));
        }
        // Kept away from the top, so that rounding up to the alignment cannot overflow either.
        let reach = SPAN_MAX.min((u64::MAX - SPAN_MAX).saturating_sub(first));
        if load.vaddr.checked_add(load.memsz).is_none_or(|end| end - first > reach) {
            return Err(problem(LoadProblem::TooFar));
        }
        let p_align: u64 = header.p_align(endian).into();
        let p_align = p_align.max(1);
        if !p_align.is_power_of_two() || p_align > SPAN_MAX {
            return Err(problem(LoadProblem::Align));
        }
        align = align.max(p_align);
        loads.push(load);
    }
    Ok((loads, align))
}

fn load<'a, Header>(header: &Header, endian: Endianness, file: &'a [u8]) -> Result<Load<'a>, Error>
where
    Header: ProgramHeader<Endian = Endianness>,
{
    let (vaddr, memsz) = (header.p_vaddr(endian).into(), header.p_memsz(endian).into());
    let problem = |problem| Error::Load { p_vaddr: vaddr, p_memsz: memsz, problem };
    let data = header.data(endian, file).map_err(|()| problem(LoadProblem::OutsideFile))?;
    if data.len() as u64 > memsz {
        return Err(problem(LoadProblem::FileLargerThanMemory));
    }
    let flags = header.p_flags(endian);
    Ok(Load {
        data,
        vaddr,
        memsz,
        writable: flags.contains(PF_W),
        executable: flags.contains(PF_X),
    })
}

fn entry_offset(loads: &[Load<'_>], entry: u64, link_base: u64) -> Result<u64, Error> {
    if loads.iter().any(|load| load.executable && load.holds(entry, 1)) {
        Ok(entry - link_base)
    } else {
        Err(Error::Entry { entry })
    }
}

/// Where words of an image are, for checking what a relocation changes.
struct Words<'a> {
    loads: &'a [Load<'a>],
    link_base: u64,
    class: Class,
}

impl Words<'_> {
    fn relocation(&self, address: u64, addend: Option<i64>) -> Result<Relocation, Error> {
        let width = self.class.width();
        if !self.loads.iter().any(|load| load.holds(address, width.into())) {
            return Err(Error::RelocationOutside { offset: address, width });
        }
        Ok(Relocation { offset: self.offset(address), addend })
    }

    /// Offset in the image of an address that a PT_LOAD holds: below `SPAN_MAX` and its align.
    #[expect(clippy::cast_possible_truncation, reason = "an image spans at most 32 MiB")]
    fn offset(&self, address: u64) -> usize {
        (address - self.link_base) as usize
    }
}

/// The relocations that apply to loaded memory. Sections without SHF_ALLOC (those that
/// `--emit-relocs` leaves behind) are for tools, not for loading.
fn relocations<Elf>(
    sections: &SectionTable<'_, Elf>,
    endian: Endianness,
    file: &[u8],
    relative: Relative,
    words: &Words<'_>,
) -> Result<Vec<Relocation>, Error>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let check_type = |found: object::elf::RelocationType, offset: u64| {
        let error = Error::RelocationType { r_type: found.0, offset, relative: relative.r_type.0 };
        (found == relative.r_type).then_some(()).ok_or(error)
    };
    let mut all = Vec::new();
    for section in sections.iter() {
        let flags: u64 = section.sh_flags(endian).0;
        if flags & SHF_ALLOC.0 == 0 {
            continue;
        }
        let sh_type = section.sh_type(endian);
        if [SHT_RELR, SHT_CREL].contains(&sh_type) {
            return Err(Error::PackedRelocations { sh_type: sh_type.0 });
        }
        let unreadable = malformed("a relocation section");
        if let Some((table, _)) = section.rela(endian, file).map_err(&unreadable)? {
            for entry in table {
                let offset = entry.r_offset(endian).into();
                check_type(entry.r_type(endian, false), offset)?;
                all.push(words.relocation(offset, Some(entry.r_addend(endian).into()))?);
            }
        }
        if let Some((table, _)) = section.rel(endian, file).map_err(&unreadable)? {
            for entry in table {
                let offset = entry.r_offset(endian).into();
                check_type(entry.r_type(endian), offset)?;
                all.push(words.relocation(offset, None)?);
            }
        }
    }
    Ok(all)
}

/// The address of the parameter block, after checking that the image has the version that
/// [`encode`](crate::encode) writes.
fn params<Elf>(
    sections: &SectionTable<'_, Elf>,
    endian: Endianness,
    loads: &[Load<'_>],
) -> Result<u64, Error>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let (_, section) =
        sections.section_by_name(endian, SECTION.as_bytes()).ok_or(Error::NoParams)?;
    let (address, size) = (section.sh_addr(endian).into(), section.sh_size(endian).into());
    let expected = size_of::<Params>() as u64;
    let outside = Error::ParamsPlace { address, size, expected };
    if size != expected || section.sh_type(endian) == SHT_NOBITS {
        return Err(outside);
    }
    let holder = loads.iter().find(|load| load.writable && load.holds(address, size));
    let Some(holder) = holder else { return Err(outside) };
    let block = usize::try_from(address - holder.vaddr)
        .ok()
        .and_then(|offset| holder.data.get(offset..))
        .and_then(|block| block.first_chunk::<16>())
        .ok_or(outside)?;
    check_version(block, endian)?;
    Ok(address)
}

fn check_version(block: &[u8; 16], endian: Endianness) -> Result<(), Error> {
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, s0, s1, s2, s3] = *block;
    let u32_of = match endian {
        Endianness::Little => u32::from_le_bytes,
        Endianness::Big => u32::from_be_bytes,
    };
    let u64_of = match endian {
        Endianness::Little => u64::from_le_bytes,
        Endianness::Big => u64::from_be_bytes,
    };
    let magic = u64_of([m0, m1, m2, m3, m4, m5, m6, m7]);
    let (version, size) = (u32_of([v0, v1, v2, v3]), u32_of([s0, s1, s2, s3]));
    if (magic, version, size) == (MAGIC, VERSION, Params::EMPTY.size) {
        Ok(())
    } else {
        Err(Error::ParamsVersion { magic, version, size })
    }
}

fn malformed(what: &'static str) -> impl Fn(ElfError) -> Error {
    move |reason| Error::Malformed { what, reason }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::testing::{self, CODE_AT, DATA_AT, Maker, RODATA_AT, params_len};

    fn error_of(maker: &Maker) -> Error {
        Image::parse(&maker.file()).unwrap_err()
    }

    #[test]
    fn every_class_and_byte_order_is_read() {
        for maker in [testing::x86_64(), testing::i386(), testing::ppc64()] {
            let file = maker.file();
            let image = Image::parse(&file).unwrap();
            // From 0x1000 to 0x3000 + block + 16 + 0x100, in whole pages.
            assert_eq!((image.size(), image.align()), (0x3000, 0x1000));
            assert_eq!(image.relocations.len(), 2);
            assert_eq!((image.entry, image.params), (CODE_AT + 4 - RODATA_AT, 0x2000));
        }
    }

    #[test]
    fn a_file_at_an_odd_address_is_read() {
        let mut file = std::vec![0];
        file.extend(testing::x86_64().file());
        Image::parse(&file[1..]).unwrap();
    }

    #[test]
    fn the_machine_and_type_must_be_known() {
        let unknown = Maker { machine: 0x1234, ..testing::x86_64() };
        assert_eq!(error_of(&unknown), Error::UnknownMachine { e_machine: 0x1234, bits: 64 });
        let wrong_class = Maker { machine: 62, ..testing::i386() };
        assert_eq!(error_of(&wrong_class), Error::UnknownMachine { e_machine: 62, bits: 32 });
        let executable = Maker { e_type: 2, ..testing::x86_64() };
        assert_eq!(error_of(&executable), Error::NotPie { e_type: 2 });
    }

    #[test]
    fn only_relative_relocations_are_accepted() {
        let maker = Maker { relative: 1, ..testing::x86_64() };
        let offset = RODATA_AT + 8;
        assert_eq!(error_of(&maker), Error::RelocationType { r_type: 1, offset, relative: 8 });
        assert_eq!(
            error_of(&maker).to_string(),
            "purgatory image: relocation type 1 at 0x1008; only type 8 (RELATIVE) can be applied"
        );
    }

    #[test]
    fn a_relocation_must_change_loaded_bytes() {
        let end_of_rodata = RODATA_AT + testing::RODATA.len() as u64;
        for offset in [0, RODATA_AT - 1, end_of_rodata - 7, DATA_AT + params_len() + 9, u64::MAX] {
            let maker = Maker { relocations: std::vec![(offset, 0)], ..testing::x86_64() };
            assert_eq!(error_of(&maker), Error::RelocationOutside { offset, width: 8 });
        }
    }

    #[test]
    fn the_entry_must_be_code() {
        for entry in [0, RODATA_AT, CODE_AT + 16, DATA_AT] {
            assert_eq!(error_of(&Maker { entry, ..testing::x86_64() }), Error::Entry { entry });
        }
    }

    #[test]
    fn a_block_of_another_version_is_refused() {
        let mut maker = testing::x86_64();
        maker.params[8] = 9;
        let size = Params::EMPTY.size;
        assert_eq!(error_of(&maker), Error::ParamsVersion { magic: MAGIC, version: 9, size });
        // A little-endian block in a big-endian image is another one, too.
        let params = testing::x86_64().params;
        let mixed = error_of(&Maker { params, ..testing::ppc64() });
        assert!(matches!(mixed, Error::ParamsVersion { .. }), "{mixed}");
        let (params, relocations) = (std::vec![0; 64], std::vec![]);
        let short = Maker { params, relocations, ..testing::x86_64() };
        assert!(matches!(error_of(&short), Error::ParamsPlace { size: 64, .. }));
    }

    #[test]
    fn a_span_that_a_damaged_header_makes_huge_is_refused() {
        let mut file = testing::x86_64().file();
        // p_memsz of the last PT_LOAD.
        let p_memsz = 64 + 2 * 56 + 40;
        for memsz in [SPAN_MAX, u64::MAX - 0x3000, u64::MAX] {
            file[p_memsz..p_memsz + 8].copy_from_slice(&memsz.to_le_bytes());
            let error = Image::parse(&file).unwrap_err();
            assert!(matches!(error, Error::Load { problem: LoadProblem::TooFar, .. }), "{error}");
        }
    }

    /// Whatever the damage, there is an image that can be placed or an error, and no panic.
    fn parse_and_place(file: &[u8]) -> bool {
        let Ok(image) = Image::parse(file) else { return false };
        let Ok(placed) = image.place(image.align().max(0x10_0000)) else { return false };
        let (address, code) = placed.code();
        assert!(address >= placed.base());
        assert!(code.len() as u64 <= image.size());
        placed.fill(&Params::EMPTY).len() as u64 == image.size()
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        for maker in [testing::x86_64(), testing::i386(), testing::ppc64()] {
            let file = maker.file();
            assert!(parse_and_place(&file));
            for length in 0..file.len() {
                assert!(Image::parse(&file[..length]).is_err(), "cut to {length:#x} bytes");
            }
        }
    }

    #[test]
    fn no_change_of_one_byte_makes_it_panic() {
        for maker in [testing::x86_64(), testing::i386(), testing::ppc64()] {
            let file = maker.file();
            for offset in 0..file.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut damaged = file.clone();
                    damaged[offset] ^= flip;
                    parse_and_place(&damaged);
                }
            }
        }
    }
}
