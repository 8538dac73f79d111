//! Where the dead kernel has the `struct page` of each page: its memory map, in one of the memory
//! models of Documentation/mm/memory-model.rst (Linux 6.1).

use std::ops::Range;

use object::elf::EM_386;

use crate::address::{self, KernelMemory, Virtual};
use crate::vmcore::{Headers, InfoError};

/// Bits of `section_mem_map` that are flags: the kernel has at least so many of them free
/// (include/linux/mmzone.h, `SECTION_MAP_LAST_BIT` and the comment above it, Linux 4.19 to 6.16).
const SECTION_FLAGS: u64 = 0x3f;
/// Those of a section that has a memory map: `SECTION_MARKED_PRESENT`, `SECTION_HAS_MEM_MAP`.
const SECTION_HAS_MAP: u64 = 0b11;
/// More pieces than the memory map of any machine is in. With a virtual memory map there are as
/// many as there are holes; without one a piece for each section, here for 8 TiB of x86_64.
const MAX_RUNS: usize = 1 << 16;
/// More sections than any machine has: 128 TiB of POWER, 1 PiB of x86_64.
const MAX_SECTIONS: u64 = 1 << 23;
/// More memory nodes than any kernel is built for.
const MAX_NODES: u64 = 1 << 10;

/// Why the memory map cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    /// The dead kernel does not say where it is.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// Where it should be there is no memory.
    #[error(transparent)]
    Memory(#[from] address::Error),
    /// It is nowhere.
    #[error("the dead kernel's memory model has no page in the dump")]
    Empty,
}

/// Pages whose `struct page`s are one array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Page frame numbers.
    pub pfns: Range<u64>,
    /// Address of the first one's `struct page`.
    start: Virtual,
}

impl Run {
    /// Address of the `struct page` of `pfn`, which is one of its pages, if a `struct page` has
    /// `page_struct_size` bytes.
    pub(super) fn address(&self, pfn: u64, page_struct_size: u64) -> Virtual {
        let skip = (pfn - self.pfns.start).wrapping_mul(page_struct_size);
        Virtual(self.start.0.wrapping_add(skip))
    }
}

/// The memory map of what is in the dump.
#[derive(Debug)]
pub(super) struct MemoryMap {
    /// By page frame number, apart from each other.
    runs: Vec<Run>,
    /// Pages that are RAM, by page frame number, apart from each other.
    ram: Vec<Range<u64>>,
    page_struct_size: u64,
    /// The first page frame number that there was no room for.
    incomplete_from: Option<u64>,
}

impl MemoryMap {
    pub(super) fn find(
        memory: &mut KernelMemory<'_>,
        page_struct_size: u64,
    ) -> Result<Self, MapError> {
        // Pages have no state if their size is a guess, or not that of the core's pages.
        let page_size = memory.headers().info.page_size()?;
        if page_size != memory.headers().page_size {
            return Err(
                InfoError::OutOfRange { key: "PAGESIZE".to_owned(), value: page_size }.into()
            );
        }
        let ram = memory.headers().ram();
        let mut map = Self { runs: Vec::new(), ram, page_struct_size, incomplete_from: None };
        if memory.headers().info.has_symbol("mem_section") {
            map.add_sections(memory, page_size)?;
        } else {
            map.add_nodes(memory)?;
        }
        let first = map.runs.first().ok_or(MapError::Empty)?;
        // Is there anything, in particular: can its addresses be translated?
        memory.read_long(map.first_in_ram(first))?;
        Ok(map)
    }

    /// The runs with any of `pfns`.
    pub(super) fn runs(&self, pfns: Range<u64>) -> impl Iterator<Item = &Run> {
        let first = self.runs.partition_point(|run| run.pfns.end <= pfns.start);
        self.runs[first..].iter().take_while(move |run| run.pfns.start < pfns.end)
    }

    /// How many of `pfns` are RAM.
    pub(super) fn pages_in_ram(&self, pfns: &Range<u64>) -> u64 {
        let first = self.ram.partition_point(|ram| ram.end <= pfns.start);
        let ram = self.ram[first..].iter().take_while(|ram| ram.start < pfns.end);
        ram.map(|ram| pfns.end.min(ram.end).saturating_sub(pfns.start.max(ram.start))).sum()
    }

    /// The first page that nothing is known of because there is too much.
    pub(super) fn incomplete_from(&self) -> Option<u64> {
        self.incomplete_from
    }

    fn first_in_ram(&self, run: &Run) -> Virtual {
        let inside = self.ram.iter().map(|ram| ram.start).find(|pfn| run.pfns.contains(pfn));
        run.address(inside.unwrap_or(run.pfns.start), self.page_struct_size)
    }

    /// SPARSEMEM: memory comes in sections, each with an array of its own or with its part of the
    /// virtual memory map (include/linux/mmzone.h, `struct mem_section`, Linux 4.19 to 6.16).
    fn add_sections(
        &mut self,
        memory: &mut KernelMemory<'_>,
        page_size: u64,
    ) -> Result<(), MapError> {
        let sections = Sections::new(memory.headers(), page_size)?;
        let mut next = 0;
        let mut looked_at = 0;
        for ram in self.ram.clone() {
            let numbers = next.max(ram.start / sections.pages)..ram.end.div_ceil(sections.pages);
            for number in numbers {
                looked_at += 1;
                if looked_at > MAX_SECTIONS {
                    self.incomplete_from = Some(number.saturating_mul(sections.pages));
                    return Ok(());
                }
                next = number + 1;
                let Some(encoded) = sections.mem_map(memory, number)? else { continue };
                // It is where the array would start if it began with page 0.
                let first = number.wrapping_mul(sections.pages);
                let start = encoded.wrapping_add(first.wrapping_mul(self.page_struct_size));
                let pages = sections.pages;
                if !self.add(first..first.saturating_add(pages), wrap(memory.headers(), start)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// FLATMEM and DISCONTIGMEM: a memory node has one array
    /// (include/linux/mmzone.h, `struct pglist_data`, Linux 4.19 to 6.1).
    fn add_nodes(&mut self, memory: &mut KernelMemory<'_>) -> Result<(), MapError> {
        let info = &memory.headers().info;
        let mem_map = info.offset("pglist_data.node_mem_map")?;
        let start_pfn = info.offset("pglist_data.node_start_pfn")?;
        let spanned = info.offset("pglist_data.node_spanned_pages")?;
        let mut nodes = Vec::new();
        if info.has_symbol("contig_page_data") {
            nodes.push(info.symbol("contig_page_data")?);
        } else {
            let pointers = info.symbol("node_data")?;
            let size = if memory.headers().is_64 { 8 } else { 4 };
            for number in 0..info.length("node_data")?.min(MAX_NODES) {
                nodes.push(Virtual(memory.read_long(pointers.plus(number * size)?)?));
            }
        }
        for node in nodes.into_iter().filter(|node| node.0 != 0) {
            let start = Virtual(memory.read_long(node.plus(mem_map)?)?);
            let first = memory.read_long(node.plus(start_pfn)?)?;
            let end = first.saturating_add(memory.read_long(node.plus(spanned)?)?);
            // A node without memory has no map.
            if start.0 != 0 && first < end {
                self.add(first..end, start);
            }
        }
        self.runs.sort_by_key(|run| run.pfns.start);
        self.runs.dedup_by(|later, earlier| later.pfns.start < earlier.pfns.end);
        Ok(())
    }

    /// False if there is no room for more.
    fn add(&mut self, pfns: Range<u64>, start: Virtual) -> bool {
        if let Some(last) = self.runs.last_mut() {
            let continues = last.pfns.end == pfns.start
                && last.address(pfns.start, self.page_struct_size) == start;
            if continues {
                last.pfns.end = pfns.end;
                return true;
            }
        }
        if self.runs.len() == MAX_RUNS {
            self.incomplete_from = Some(pfns.start);
            return false;
        }
        self.runs.push(Run { pfns, start });
        true
    }
}

/// An address of 32 bits wraps where the machine has only those.
fn wrap(headers: &Headers, address: u64) -> Virtual {
    Virtual(if headers.is_64 { address } else { address & u64::from(u32::MAX) })
}

/// The dead kernel's `mem_section`.
struct Sections {
    /// What the symbol is: the array, or the array of pointers to arrays.
    table: Virtual,
    /// Elements of `table`.
    roots: u64,
    /// Sections in each of the arrays that `table` points to; `None` if it is the array itself.
    sections_per_root: Option<u64>,
    /// Pages of a section.
    pages: u64,
    /// Size of a `struct mem_section`, and of its `section_mem_map` the place.
    size: u64,
    mem_map: u64,
}

impl Sections {
    fn new(headers: &Headers, page_size: u64) -> Result<Self, InfoError> {
        let info = &headers.info;
        let size = in_range("SIZE(mem_section)", info.size("mem_section")?, 4..=page_size)?;
        // SPARSEMEM_STATIC is i386's, all others have SPARSEMEM_EXTREME
        // (mm/Kconfig, arch/x86/Kconfig, Linux 4.19 to 6.1).
        let is_static = headers.machine == EM_386;
        let size_bits = match info.number("SECTION_SIZE_BITS") {
            Ok(bits) => bits.cast_unsigned(),
            Err(InfoError::Missing { .. }) => section_size_bits(headers)?,
            Err(other) => return Err(other),
        };
        let page_bits = u64::from(page_size.trailing_zeros());
        let size_bits = in_range("NUMBER(SECTION_SIZE_BITS)", size_bits, page_bits..=40)?;
        Ok(Self {
            table: info.symbol("mem_section")?,
            roots: info.length("mem_section")?,
            sections_per_root: (!is_static).then_some(page_size / size),
            pages: 1 << (size_bits - page_bits),
            size,
            mem_map: info.offset("mem_section.section_mem_map")?,
        })
    }

    /// `section_mem_map` of a section without its flags, if the section has a memory map.
    fn mem_map(
        &self,
        memory: &mut KernelMemory<'_>,
        number: u64,
    ) -> Result<Option<u64>, address::Error> {
        let (root, in_root) = match self.sections_per_root {
            Some(sections) => (number / sections, number % sections),
            None => (number, 0),
        };
        if root >= self.roots {
            return Ok(None);
        }
        let section = match self.sections_per_root {
            Some(_) => {
                let pointer_size = if memory.headers().is_64 { 8 } else { 4 };
                let pointer = memory.read_long(self.table.plus(root * pointer_size)?)?;
                if pointer == 0 {
                    return Ok(None);
                }
                Virtual(pointer).plus(in_root * self.size)?
            }
            None => self.table.plus(root.saturating_mul(self.size))?,
        };
        let encoded = memory.read_long(section.plus(self.mem_map)?)?;
        let has_map = encoded & SECTION_HAS_MAP == SECTION_HAS_MAP;
        Ok(has_map.then_some(encoded & !SECTION_FLAGS))
    }
}

/// What kernels before 5.14 do not export (asm/sparsemem.h of each architecture, Linux 4.19 to
/// 5.13).
fn section_size_bits(headers: &Headers) -> Result<u64, InfoError> {
    match headers.machine {
        object::elf::EM_X86_64 => Ok(27),
        object::elf::EM_PPC64 => Ok(24),
        EM_386 if headers.info.text("CONFIG_X86_PAE") == Some("y") => Ok(29),
        EM_386 => Ok(26),
        _ => Err(InfoError::Missing { key: "NUMBER(SECTION_SIZE_BITS)".to_owned() }),
    }
}

fn in_range(key: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, InfoError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(InfoError::OutOfRange { key: key.to_owned(), value })
    }
}
