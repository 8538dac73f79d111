//! Hand-made cores for the tests.

use std::io::Write;
use std::path::Path;

use object::elf::{EM_AARCH64, Machine};

use crate::vmcore::Vmcore;

/// A core to be built: little-endian ELF64.
pub(crate) struct TestCore {
    pub machine: Machine,
    /// Physical address, virtual address, content.
    pub loads: Vec<(u64, u64, Vec<u8>)>,
    /// Text of the VMCOREINFO note.
    pub info: String,
}

impl TestCore {
    /// A core without memory, of a machine whose addresses the segments give.
    pub fn new(info: &str) -> Self {
        Self { machine: EM_AARCH64, loads: Vec::new(), info: info.to_owned() }
    }

    pub fn load(mut self, physical: u64, virt: u64, data: impl Into<Vec<u8>>) -> Self {
        self.loads.push((physical, virt, data.into()));
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let note = self.note();
        let header_count = 1 + self.loads.len();
        let mut offset = 64 + 56 * header_count;
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([4, self.machine.0].map(u16::to_le_bytes).concat()); // ET_CORE
        elf.extend(1u32.to_le_bytes());
        elf.extend([0, 64, 0].map(u64::to_le_bytes).concat());
        elf.extend(0u32.to_le_bytes());
        let count = u16::try_from(header_count).unwrap();
        elf.extend([64, 56, count, 0, 0, 0].map(u16::to_le_bytes).concat());
        let segments = std::iter::once((4u32, 0, 0, &note)) // PT_NOTE
            .chain(self.loads.iter().map(|(physical, virt, data)| (1, *physical, *virt, data)));
        for (kind, physical, virt, data) in segments {
            let (at, length) = (offset as u64, data.len() as u64);
            elf.extend([kind, 7].map(u32::to_le_bytes).concat());
            elf.extend([at, virt, physical, length, length, 0].map(u64::to_le_bytes).concat());
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
            note.extend(lengths.map(u32::to_le_bytes).concat());
            note.extend(0u32.to_le_bytes());
            for part in [name, text] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
        }
        note
    }
}

/// A file with this content.
pub(crate) fn file(content: &[u8]) -> tempfile::NamedTempFile {
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
