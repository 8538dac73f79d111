//! Hand-made cores for the tests.

use std::io::Write;
use std::path::Path;

use object::elf::{EM_386, EM_AARCH64, EM_PPC64, Machine};
use object::{Endian, Endianness};

use crate::vmcore::Vmcore;

/// A core to be built: little-endian ELF64 unless changed.
pub(crate) struct TestCore {
    pub machine: Machine,
    pub endianness: Endianness,
    pub has_64_bit_headers: bool,
    /// Physical address, virtual address, content.
    pub loads: Vec<(u64, u64, Vec<u8>)>,
    /// Text of the VMCOREINFO note.
    pub info: String,
}

impl TestCore {
    /// A core without memory, of a machine whose addresses the segments give.
    pub fn new(info: &str) -> Self {
        Self {
            machine: EM_AARCH64,
            endianness: Endianness::Little,
            has_64_bit_headers: true,
            loads: Vec::new(),
            info: info.to_owned(),
        }
    }

    /// Of a big-endian 64-bit POWER machine.
    pub fn power(info: &str) -> Self {
        Self { machine: EM_PPC64, endianness: Endianness::Big, ..Self::new(info) }
    }

    /// Of a 32-bit x86 machine, with ELF32 headers.
    pub fn i386(info: &str) -> Self {
        Self { machine: EM_386, has_64_bit_headers: false, ..Self::new(info) }
    }

    pub fn load(mut self, physical: u64, virt: u64, data: impl Into<Vec<u8>>) -> Self {
        self.loads.push((physical, virt, data.into()));
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let note = self.note();
        let (header_size, entry_size) = if self.has_64_bit_headers { (64, 56) } else { (52, 32) };
        let header_count = 1 + self.loads.len();
        let mut offset = usize::from(header_size) + usize::from(entry_size) * header_count;
        let class = if self.has_64_bit_headers { 2 } else { 1 };
        let data = if self.endianness.is_big_endian() { 2 } else { 1 };
        let mut elf = b"\x7fELF".to_vec();
        elf.extend([class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        elf.extend([4, self.machine.0].map(|n| self.u16(n)).concat()); // ET_CORE
        elf.extend(self.u32(1));
        for number in [0, header_size.into(), 0] {
            elf.extend(self.address(number));
        }
        elf.extend(self.u32(0));
        let count = u16::try_from(header_count).unwrap();
        elf.extend([header_size, entry_size, count, 0, 0, 0].map(|n| self.u16(n)).concat());
        let segments = std::iter::once((4u32, 0, 0, &note)) // PT_NOTE
            .chain(self.loads.iter().map(|(physical, virt, data)| (1, *physical, *virt, data)));
        for (kind, physical, virt, data) in segments {
            let (at, length) = (offset as u64, data.len() as u64);
            // The flags stand second in ELF64 and second to last in ELF32.
            let flags = self.u32(7);
            elf.extend(self.u32(kind));
            elf.extend(if self.has_64_bit_headers { &flags[..] } else { &[] });
            for number in [at, virt, physical, length, length] {
                elf.extend(self.address(number));
            }
            elf.extend(if self.has_64_bit_headers { &[] } else { &flags[..] });
            elf.extend(self.address(0));
            offset += data.len();
        }
        elf.extend(&note);
        self.loads.iter().for_each(|(_, _, data)| elf.extend(data));
        elf
    }

    /// The core, read from a file.
    pub fn open(&self) -> (tempfile::NamedTempFile, Vmcore) {
        let file = file(&self.bytes());
        let core = Vmcore::open(file.path()).unwrap();
        (file, core)
    }

    fn note(&self) -> Vec<u8> {
        let mut note = Vec::new();
        for (name, text) in
            [(&b"CORE\0"[..], &b"registers"[..]), (b"VMCOREINFO\0", self.info.as_bytes())]
        {
            let lengths = [name.len(), text.len()].map(|length| u32::try_from(length).unwrap());
            note.extend(lengths.map(|length| self.u32(length)).concat());
            note.extend(self.u32(0));
            for part in [name, text] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
        }
        note
    }

    fn u16(&self, number: u16) -> [u8; 2] {
        self.endianness.write_u16(number)
    }

    fn u32(&self, number: u32) -> [u8; 4] {
        self.endianness.write_u32(number)
    }

    /// An address, offset or size as the headers have it.
    fn address(&self, number: u64) -> Vec<u8> {
        if self.has_64_bit_headers {
            self.endianness.write_u64(number).to_vec()
        } else {
            self.u32(u32::try_from(number).unwrap()).to_vec()
        }
    }
}

/// A file with this content. With `FUZZ_SEEDS` it stays in that folder too, for the fuzzer to start
/// from (fuzz/make-seeds.sh).
pub(crate) fn file(content: &[u8]) -> tempfile::NamedTempFile {
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        std::fs::create_dir_all(&folder).unwrap();
        let name = format!("{:016x}", twox_hash::XxHash3_64::oneshot(content));
        std::fs::write(Path::new(&folder).join(name), content).unwrap();
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// Overwrites bytes of a core's segment.
pub(crate) fn poke(memory: &mut [u8], at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A path at which there is nothing.
pub(crate) fn nowhere() -> &'static Path {
    Path::new("/nonexistent/vmcore")
}
