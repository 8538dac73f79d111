//! What a Multiboot kernel is told: "Boot information format", Multiboot 0.6.96 section 3.3 and
//! Multiboot2 2.0 section 3.6. All fields are little-endian, all addresses physical and below 4 GiB.

use alloc::vec::Vec;

use super::LOADER;
use crate::facts::x86::{MemoryKind, MemoryRange};
use crate::image::multiboot::Version;
use crate::plan::x86::boot_params::e820_type;
use crate::plan::x86::memory_map::LOW_1M;
use crate::range::PhysRange;

/// What there is to tell.
pub struct Information<'i> {
    /// The command line, with the kernel's path in front.
    pub command_line: &'i str,
    /// The modules, in the order in which they were given.
    pub modules: &'i [PlacedModule<'i>],
    /// The firmware's memory map.
    pub memory_map: &'i [MemoryRange],
    /// Where a relocatable kernel begins.
    pub load_base: Option<u64>,
}

/// A module in its place.
pub struct PlacedModule<'m> {
    /// Where it is.
    pub range: PhysRange,
    /// What the kernel reads about it.
    pub text: &'m str,
}

impl Information<'_> {
    /// The structure of this version, for physical address `base`.
    pub fn bytes(&self, version: Version, base: u64) -> Vec<u8> {
        match version {
            Version::One => self.first(base),
            Version::Two => self.second(),
        }
    }

    /// The structure, with the memory map, the list of modules and the texts behind it.
    fn first(&self, base: u64) -> Vec<u8> {
        const SIZE: usize = 120;
        // Basic memory, command line, modules, memory map, the loader's name.
        const FLAGS: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
        let mut behind = Behind { base: base + SIZE as u64, bytes: Vec::new() };
        let entries: Vec<u8> = self.memory_map.iter().flat_map(mmap_entry).collect();
        let mmap = behind.put(&entries);
        let modules: Vec<u8> = self
            .modules
            .iter()
            .flat_map(|module| {
                let [start, end] = [module.range.start, module.range.end].map(low);
                [start, end, behind.put_text(module.text), 0]
            })
            .flat_map(u32::to_le_bytes)
            .collect();
        let mods = behind.put(&modules);
        let fields = [
            (0, FLAGS),
            (4, self.mem_lower()),
            (8, self.mem_upper()),
            (16, behind.put_text(self.command_line)),
            (20, count(self.modules.len())),
            (24, mods),
            (44, count(entries.len())),
            (48, mmap),
            (64, behind.put_text(LOADER)),
        ];
        let mut bytes = alloc::vec![0; SIZE];
        for (offset, field) in fields {
            bytes[offset..offset + 4].copy_from_slice(&field.to_le_bytes());
        }
        bytes.extend(behind.bytes);
        bytes
    }

    /// Tags behind their total size. They hold no address of their own.
    fn second(&self) -> Vec<u8> {
        let mut tags = Tags { bytes: alloc::vec![0; 8] };
        tags.put(Tags::COMMAND_LINE, &[], self.command_line);
        tags.put(Tags::LOADER_NAME, &[], LOADER);
        for module in self.modules {
            let range = [module.range.start, module.range.end].map(low);
            tags.put(Tags::MODULE, &range, module.text);
        }
        tags.put_words(Tags::BASIC_MEMORY, &[self.mem_lower(), self.mem_upper()]);
        // Each entry is as version 1 has it, but without its size in front and with a reserved word
        // at the end.
        let entry = |range: &MemoryRange| [&mmap_entry(range)[4..], &[0; 4]].concat();
        let entries: Vec<u8> = self.memory_map.iter().flat_map(entry).collect();
        let header: Vec<u8> = [24_u32, 0].iter().flat_map(|field| field.to_le_bytes()).collect();
        tags.put_bytes(Tags::MEMORY_MAP, &[header, entries].concat());
        if let Some(base) = self.load_base {
            tags.put_words(Tags::LOAD_BASE, &[low(base)]);
        }
        tags.put_words(Tags::END, &[]);
        let size = count(tags.bytes.len());
        tags.bytes[..4].copy_from_slice(&size.to_le_bytes());
        tags.bytes
    }

    /// KiB of memory from address 0, at most 640.
    fn mem_lower(&self) -> u32 {
        kib_from(self.memory_map, 0).min(640)
    }

    /// KiB of memory from 1 MiB to the first hole.
    fn mem_upper(&self) -> u32 {
        kib_from(self.memory_map, LOW_1M)
    }
}

/// What is behind a structure that points to it.
struct Behind {
    /// Its address.
    base: u64,
    bytes: Vec<u8>,
}

impl Behind {
    /// Puts them at the end. The answer is their address.
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = low(self.base + self.bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn put_text(&mut self, text: &str) -> u32 {
        let at = self.put(text.as_bytes());
        self.bytes.push(0);
        at
    }
}

/// The tags of version 2.
struct Tags {
    bytes: Vec<u8>,
}

impl Tags {
    const END: u32 = 0;
    const COMMAND_LINE: u32 = 1;
    const LOADER_NAME: u32 = 2;
    const MODULE: u32 = 3;
    const BASIC_MEMORY: u32 = 4;
    const MEMORY_MAP: u32 = 6;
    const LOAD_BASE: u32 = 21;

    /// Words, and a text with its final NUL.
    fn put(&mut self, kind: u32, words: &[u32], text: &str) {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put_bytes(kind, &[&words, text.as_bytes(), &[0]].concat());
    }

    fn put_words(&mut self, kind: u32, words: &[u32]) {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put_bytes(kind, &words);
    }

    fn put_bytes(&mut self, kind: u32, content: &[u8]) {
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(count(8 + content.len()).to_le_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }
}

/// The size of what follows, base, length, type. Types are those of E820, of which Multiboot knows 1
/// to 5; all others are reserved.
fn mmap_entry(entry: &MemoryRange) -> [u8; 24] {
    let kind = match e820_type(entry.kind) {
        known @ 1..=5 => known,
        _unknown => 2,
    };
    let mut bytes = [0; 24];
    bytes[..4].copy_from_slice(&20_u32.to_le_bytes());
    bytes[4..12].copy_from_slice(&entry.range.start.to_le_bytes());
    bytes[12..20].copy_from_slice(&entry.range.len().to_le_bytes());
    bytes[20..].copy_from_slice(&kind.to_le_bytes());
    bytes
}

/// An address; what a Multiboot kernel is told of lies below 4 GiB.
fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

/// A number of bytes or things in a structure that fits in memory below 4 GiB.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What of `map` begins at or below `address` and is RAM there: how many KiB follow `address`.
pub fn kib_from(map: &[MemoryRange], address: u64) -> u32 {
    let here = |entry: &&MemoryRange| {
        entry.kind == MemoryKind::Ram && entry.range.start <= address && address < entry.range.end
    };
    let bytes = map.iter().find(here).map_or(0, |entry| entry.range.end - address);
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}
