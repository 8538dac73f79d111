//! Small hand-made purgatory images, in every class and byte order.

use alloc::{vec, vec::Vec};

use object::Endianness;
use purgatory::params::{Params, SECTION};

use crate::encode::encode;
use crate::relocation::Class;

/// What a test image is made of. The linked layout is always the same:
/// read-only data at 0x1000, code at 0x2000 ([`CODE`]), writable data at 0x3000 that begins with
/// the parameter block, 0x100 zeroed bytes behind it.
pub struct Maker {
    pub class: Class,
    pub endian: Endianness,
    pub machine: u16,
    pub relative: u32,
    /// (what it changes, addend); written as RELA, or as REL with the addend in place.
    pub relocations: Vec<(u64, i64)>,
    pub rel: bool,
    pub e_type: u16,
    pub entry: u64,
    pub params: Vec<u8>,
}

pub const RODATA_AT: u64 = 0x1000;
pub const CODE_AT: u64 = 0x2000;
pub const DATA_AT: u64 = 0x3000;
pub const RODATA: [u8; 32] = *b"read-only data, with two pointer";
pub const CODE: [u8; 16] = [0x90; 16];

pub fn x86_64() -> Maker {
    Maker {
        class: Class::Bits64,
        endian: Endianness::Little,
        machine: 62,
        relative: 8,
        relocations: vec![(RODATA_AT + 8, 0x2004), (DATA_AT + params_len(), 0x1000)],
        rel: false,
        e_type: 3,
        entry: CODE_AT + 4,
        params: encode(&Params::EMPTY, Endianness::Little),
    }
}

pub fn i386() -> Maker {
    Maker { class: Class::Bits32, machine: 3, relative: 8, rel: true, ..x86_64() }
}

pub fn ppc64() -> Maker {
    let params = encode(&Params::EMPTY, Endianness::Big);
    Maker { endian: Endianness::Big, machine: 21, relative: 22, params, ..x86_64() }
}

pub fn params_len() -> u64 {
    size_of::<Params>() as u64
}

/// Bytes in an ELF file's number format.
struct Bytes<'a> {
    maker: &'a Maker,
    bytes: Vec<u8>,
}

impl Bytes<'_> {
    fn number(&mut self, value: u64, width: usize) {
        match self.maker.endian {
            Endianness::Little => self.bytes.extend(&value.to_le_bytes()[..width]),
            Endianness::Big => self.bytes.extend(&value.to_be_bytes()[8 - width..]),
        }
    }

    fn half(&mut self, value: u16) {
        self.number(value.into(), 2);
    }

    fn word(&mut self, value: u32) {
        self.number(value.into(), 4);
    }

    fn address(&mut self, value: u64) {
        self.number(value, self.maker.class.width().into());
    }
}

impl Maker {
    fn bytes(&self) -> Bytes<'_> {
        Bytes { maker: self, bytes: Vec::new() }
    }

    /// The ELF file.
    pub fn file(&self) -> Vec<u8> {
        let is_64 = self.class == Class::Bits64;
        let (ehsize, phentsize, shentsize) = if is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let contents = [
            self.load_data(RODATA_AT, RODATA.to_vec()),
            self.load_data(CODE_AT, CODE.to_vec()),
            self.load_data(DATA_AT, [self.params.clone(), vec![0; 16]].concat()),
            self.relocation_table(),
            [b"\0", SECTION.as_bytes(), b"\0"].concat(),
        ];
        let mut offsets = Vec::new();
        let mut end = ehsize + 3 * phentsize;
        for content in &contents {
            offsets.push(end as u64);
            end += content.len();
        }

        let mut out = self.bytes();
        let order = if self.endian == Endianness::Little { 1 } else { 2 };
        out.bytes.extend([0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, order, 1]);
        out.bytes.resize(16, 0);
        out.half(self.e_type);
        out.half(self.machine);
        out.word(1);
        out.address(self.entry);
        out.address(ehsize as u64);
        out.address(end as u64);
        out.word(0);
        for half in [ehsize, phentsize, 3, shentsize, 4, 3] {
            out.half(u16::try_from(half).unwrap());
        }
        let loads = [(RODATA_AT, 4, 0), (CODE_AT, 5, 0), (DATA_AT, 6, 0x100)];
        for (((vaddr, flags, bss), data), offset) in loads.iter().zip(&contents).zip(&offsets) {
            let len = data.len() as u64;
            out.program_header(*flags, *offset, *vaddr, len, len + bss);
        }
        for content in &contents {
            out.bytes.extend(content);
        }
        let table = if self.rel { 9 } else { 4 };
        out.section_header(0, 0, 0, 0, 0, 0);
        out.section_header(1, 1, 3, DATA_AT, offsets[2], self.params.len() as u64);
        out.section_header(0, table, 2, 0x800, offsets[3], contents[3].len() as u64);
        out.section_header(0, 3, 0, 0, offsets[4], contents[4].len() as u64);
        out.bytes
    }

    /// A PT_LOAD's bytes with the addends of REL relocations in place.
    fn load_data(&self, vaddr: u64, mut data: Vec<u8>) -> Vec<u8> {
        for (offset, addend) in self.relocations.iter().filter(|_| self.rel) {
            let mut word = self.bytes();
            word.address(addend.cast_unsigned());
            let at = offset.checked_sub(vaddr).and_then(|at| usize::try_from(at).ok());
            if let Some(place) = at.and_then(|at| data.get_mut(at..at + word.bytes.len())) {
                place.copy_from_slice(&word.bytes);
            }
        }
        data
    }

    fn relocation_table(&self) -> Vec<u8> {
        let mut out = self.bytes();
        for (offset, addend) in &self.relocations {
            out.address(*offset);
            out.address(self.relative.into());
            if !self.rel {
                out.address(addend.cast_unsigned());
            }
        }
        out.bytes
    }
}

impl Bytes<'_> {
    fn program_header(&mut self, flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) {
        self.word(1);
        let is_64 = self.maker.class == Class::Bits64;
        if is_64 {
            self.word(flags);
        }
        for field in [offset, vaddr, vaddr, filesz, memsz] {
            self.address(field);
        }
        if !is_64 {
            self.word(flags);
        }
        self.address(0x1000);
    }

    fn section_header(
        &mut self,
        name: u32,
        sh_type: u32,
        flags: u64,
        addr: u64,
        offset: u64,
        size: u64,
    ) {
        self.word(name);
        self.word(sh_type);
        for field in [flags, addr, offset, size] {
            self.address(field);
        }
        self.word(0);
        self.word(0);
        self.address(1);
        let entry = u64::from(self.maker.class.width()) * if sh_type == 4 { 3 } else { 2 };
        self.address(if [4, 9].contains(&sh_type) { entry } else { 0 });
    }
}
