//! ELF kernels: the headers that a loader needs. ELF-32 and ELF-64, both byte orders.

use alloc::{borrow::Cow, vec::Vec};

use goblin::container::{Container, Ctx};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD};
use goblin::elf::{Elf, Header, ProgramHeader};

use super::slice;
use crate::range::PhysRange;

/// An executable ELF kernel whose segments lie in the file and do not overlap in memory.
#[derive(Clone, Debug)]
pub struct Vmlinux<'a> {
    /// `e_entry`; a physical address on x86.
    pub entry: u64,
    /// `e_machine`, unchecked: the caller knows what it can start.
    pub machine: u16,
    /// ELF-64, not ELF-32.
    pub is_64: bool,
    /// Byte order.
    pub is_little_endian: bool,
    /// The PT_LOADs that take memory, in order of physical address; at least one.
    pub loads: Vec<Load<'a>>,
    /// What follows the ELF file: in a bzImage's payload the table of
    /// [`Relocations`](super::Relocations), if the kernel has one.
    pub tail: &'a [u8],
}

/// One PT_LOAD with `p_memsz` > 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    /// Its `p_filesz` bytes of the file; owned when they were changed.
    pub data: Cow<'a, [u8]>,
    /// Physical address.
    pub p_paddr: u64,
    /// Virtual address.
    pub p_vaddr: u64,
    /// Size in memory, at least `data.len()`; the rest is zero.
    pub p_memsz: u64,
    /// Alignment; 0 and 1 mean none.
    pub p_align: u64,
    /// `p_flags`: PF_R, PF_W, PF_X.
    pub flags: u32,
}

impl Load<'_> {
    /// The physical memory it takes.
    pub fn range(&self) -> PhysRange {
        // `parse` has checked that the sum does not overflow.
        PhysRange::new(self.p_paddr, self.p_paddr.saturating_add(self.p_memsz))
    }
}

impl<'a> Vmlinux<'a> {
    /// Parses an ELF file.
    pub fn parse(file: &'a [u8]) -> Result<Self, VmlinuxError> {
        let header = Elf::parse_header(file).map_err(VmlinuxError::Header)?;
        if !matches!(header.e_type, ET_EXEC | ET_DYN) {
            return Err(VmlinuxError::NotExecutable { e_type: header.e_type });
        }
        let container = header.container().map_err(VmlinuxError::Header)?;
        let endian = header.endianness().map_err(VmlinuxError::Header)?;
        let headers = program_headers(file, &header, Ctx::new(container, endian))?;
        if headers.iter().any(|header| header.p_type == PT_INTERP) {
            return Err(VmlinuxError::Interpreter);
        }
        let loads = loads(file, &headers)?;
        let vmlinux = Self {
            entry: header.e_entry,
            machine: header.e_machine,
            is_64: container == Container::Big,
            is_little_endian: endian.is_little(),
            loads,
            tail: tail(file, &header, &headers),
        };
        vmlinux.check_disjoint()?;
        Ok(vmlinux)
    }

    /// From the lowest physical address that it takes to the highest.
    pub fn range(&self) -> PhysRange {
        let start = self.loads.first().map_or(0, |load| load.range().start);
        let end = self.loads.last().map_or(0, |load| load.range().end);
        PhysRange::new(start, end)
    }

    /// Whether Linux's banner is in it (kernel 6.1 init/version.c, `linux_banner`).
    pub fn has_linux_banner(&self) -> bool {
        const BANNER: &[u8] = b"Linux version ";
        self.loads.iter().any(|load| load.data.windows(BANNER.len()).any(|text| text == BANNER))
    }

    /// Physical address of its first instruction if `e_entry` is a virtual one, as on POWER; `None`
    /// if no PT_LOAD has it.
    pub fn entry_by_p_vaddr(&self) -> Option<u64> {
        self.entry_by(|load| load.p_vaddr)
    }

    /// The same if `e_entry` is a physical address, as in Linux for x86.
    pub fn entry_by_p_paddr(&self) -> Option<u64> {
        self.entry_by(|load| load.p_paddr)
    }

    fn entry_by(&self, start: fn(&Load<'_>) -> u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let offset = self.entry.checked_sub(start(load))?;
            (offset < load.p_memsz).then(|| load.p_paddr + offset)
        })
    }

    fn check_disjoint(&self) -> Result<(), VmlinuxError> {
        for pair in self.loads.windows(2) {
            let (first, second) = (pair[0].range(), pair[1].range());
            if first.overlaps(&second) {
                return Err(VmlinuxError::Overlap { first, second });
            }
        }
        Ok(())
    }
}

fn program_headers(
    file: &[u8],
    header: &Header,
    ctx: Ctx,
) -> Result<Vec<ProgramHeader>, VmlinuxError> {
    let expected = ProgramHeader::size(ctx);
    if header.e_phnum > 0 && usize::from(header.e_phentsize) != expected {
        return Err(VmlinuxError::EntrySize { found: header.e_phentsize, expected });
    }
    let length = u64::from(header.e_phnum) * expected as u64;
    let table = slice(file, header.e_phoff, length).ok_or(VmlinuxError::Truncated {
        what: "the program header table",
        offset: header.e_phoff,
        length,
        file: file.len(),
    })?;
    ProgramHeader::parse(table, 0, header.e_phnum.into(), ctx).map_err(VmlinuxError::Header)
}

/// What follows the last part of the file that its headers describe; the table of sections is there
/// even when no section is needed.
fn tail<'a>(file: &'a [u8], header: &Header, headers: &[ProgramHeader]) -> &'a [u8] {
    let table = |offset: u64, count: u16, size: u16| {
        offset.saturating_add(u64::from(count) * u64::from(size))
    };
    let segments = headers.iter().map(|header| header.p_offset.saturating_add(header.p_filesz));
    let end = segments
        .chain([
            table(header.e_phoff, header.e_phnum, header.e_phentsize),
            table(header.e_shoff, header.e_shnum, header.e_shentsize),
        ])
        .max()
        .and_then(|end| usize::try_from(end).ok());
    end.and_then(|end| file.get(end..)).unwrap_or_default()
}

/// The PT_LOADs that take memory, by physical address.
fn loads<'a>(file: &'a [u8], headers: &[ProgramHeader]) -> Result<Vec<Load<'a>>, VmlinuxError> {
    let mut loads = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        if header.p_type == PT_LOAD {
            loads.push(load(file, index, header)?);
        }
    }
    loads.retain(|load| load.p_memsz > 0);
    loads.sort_by_key(|load| load.p_paddr);
    if loads.is_empty() {
        return Err(VmlinuxError::NothingToLoad);
    }
    Ok(loads)
}

fn load<'a>(
    file: &'a [u8],
    index: usize,
    header: &ProgramHeader,
) -> Result<Load<'a>, VmlinuxError> {
    let &ProgramHeader { p_filesz, p_memsz, p_paddr, p_vaddr, p_align, .. } = header;
    if p_memsz < p_filesz {
        return Err(VmlinuxError::FileLargerThanMemory { index, p_filesz, p_memsz });
    }
    if p_paddr.checked_add(p_memsz).is_none() {
        return Err(VmlinuxError::AddressOverflow { index, p_paddr, p_memsz });
    }
    let data = slice(file, header.p_offset, p_filesz).ok_or(VmlinuxError::Truncated {
        what: "a PT_LOAD",
        offset: header.p_offset,
        length: p_filesz,
        file: file.len(),
    })?;
    let data = Cow::Borrowed(data);
    Ok(Load { data, p_paddr, p_vaddr, p_memsz, p_align, flags: header.p_flags })
}

/// Why an ELF file cannot be used as a kernel.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// The ELF header or a program header cannot be decoded.
    #[error("the ELF header cannot be decoded")]
    Header(#[source] goblin::error::Error),
    /// Not ET_EXEC or ET_DYN.
    #[error(
        "ELF e_type is {e_type}: not an executable (an object file or a core dump cannot be loaded)"
    )]
    NotExecutable {
        /// What it is.
        e_type: u16,
    },
    /// A program that wants a dynamic linker.
    #[error("the ELF file has a PT_INTERP: a program for an operating system, not a kernel")]
    Interpreter,
    /// Program headers of an unknown layout.
    #[error("ELF e_phentsize is {found}, not {expected}")]
    EntrySize {
        /// `e_phentsize`
        found: u16,
        /// What the ELF class has.
        expected: usize,
    },
    /// The file ends too early.
    #[error(
        "the ELF file is truncated: {what} has {length:#x} bytes at {offset:#x} but the file has only {file:#x} \
         bytes; copy or unpack it again"
    )]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Its file offset.
        offset: u64,
        /// Its length.
        length: u64,
        /// Length of the file.
        file: usize,
    },
    /// No PT_LOAD that takes memory.
    #[error("the ELF file has no PT_LOAD: nothing to load")]
    NothingToLoad,
    /// `p_filesz` > `p_memsz`.
    #[error(
        "ELF program header {index}: p_filesz {p_filesz:#x} is larger than p_memsz {p_memsz:#x}"
    )]
    FileLargerThanMemory {
        /// Number of the program header.
        index: usize,
        /// Bytes in the file.
        p_filesz: u64,
        /// Bytes in memory.
        p_memsz: u64,
    },
    /// The segment goes past the end of the address space.
    #[error(
        "ELF program header {index}: {p_memsz:#x} bytes at {p_paddr:#x} overflow the address space"
    )]
    AddressOverflow {
        /// Number of the program header.
        index: usize,
        /// Physical address.
        p_paddr: u64,
        /// Bytes in memory.
        p_memsz: u64,
    },
    /// Two PT_LOADs want the same memory.
    #[error("two ELF PT_LOADs overlap in physical memory: {first} and {second}")]
    Overlap {
        /// The lower one.
        first: PhysRange,
        /// The higher one.
        second: PhysRange,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{Layout, Segment, put, vmlinux};

    const TEXT: Segment<'_> = Segment { p_paddr: 0x20_0000, data: b"text", p_memsz: 0x1000 };
    const DATA: Segment<'_> = Segment { p_paddr: 0x10_0000, data: b"data!", p_memsz: 5 };

    #[test]
    fn both_classes_and_byte_orders_are_read() {
        for is_64 in [false, true] {
            for is_little_endian in [false, true] {
                let layout = Layout { is_64, is_little_endian };
                let file = vmlinux(layout, &[TEXT, DATA]);
                let image = Vmlinux::parse(&file).unwrap();
                assert_eq!((image.entry, image.machine), (0x20_0000, 62), "{layout:?}");
                assert_eq!((image.is_64, image.is_little_endian), (is_64, is_little_endian));
                let found: Vec<_> =
                    image.loads.iter().map(|load| (load.p_paddr, &*load.data)).collect();
                assert_eq!(found, [(0x10_0000, &b"data!"[..]), (0x20_0000, &b"text"[..])]);
                assert_eq!(image.range(), PhysRange::new(0x10_0000, 0x20_1000));
                assert_eq!((image.loads[1].p_align, image.loads[1].flags), (0x1000, 7));
            }
        }
    }

    #[test]
    fn what_follows_the_file_is_its_tail() {
        let mut file = vmlinux(Layout::X86_64, &[TEXT, DATA]);
        assert_eq!(Vmlinux::parse(&file).unwrap().tail, b"");
        file.extend(b"a table");
        assert_eq!(Vmlinux::parse(&file).unwrap().tail, b"a table");
        // The sections' headers are a part of the file.
        let sections = file.len() as u64 - 3;
        put(&mut file, 40, &sections.to_le_bytes());
        put(&mut file, 58, &[1, 0, 1, 0]);
        assert_eq!(Vmlinux::parse(&file).unwrap().tail, b"le");
    }

    #[test]
    fn segments_without_memory_do_not_count() {
        let none = Segment { p_paddr: 0, data: b"", p_memsz: 0 };
        let file = vmlinux(Layout::X86_64, &[none, DATA]);
        assert_eq!(Vmlinux::parse(&file).unwrap().loads.len(), 1);
        let none = Segment { p_paddr: 0, data: b"", p_memsz: 0 };
        let file = vmlinux(Layout::X86_64, &[none]);
        assert!(matches!(Vmlinux::parse(&file), Err(VmlinuxError::NothingToLoad)));
    }

    #[test]
    fn segments_that_cannot_be_loaded_are_refused() {
        let error = |segments: &[Segment<'_>]| {
            Vmlinux::parse(&vmlinux(Layout::X86_64, segments)).unwrap_err()
        };
        let short = Segment { p_paddr: 0, data: b"text", p_memsz: 3 };
        assert!(matches!(error(&[short]), VmlinuxError::FileLargerThanMemory { index: 0, .. }));
        let high = Segment { p_paddr: u64::MAX, data: b"x", p_memsz: 2 };
        assert!(matches!(error(&[DATA, high]), VmlinuxError::AddressOverflow { index: 1, .. }));
        let inside = Segment { p_paddr: 0x20_0fff, data: b"x", p_memsz: 1 };
        assert!(matches!(error(&[inside, TEXT]), VmlinuxError::Overlap { .. }));
    }

    #[test]
    fn headers_that_contradict_themselves_are_refused() {
        let good = vmlinux(Layout::X86_64, &[TEXT]);
        let with = |offset: usize, bytes: &[u8]| {
            let mut file = good.clone();
            put(&mut file, offset, bytes);
            Vmlinux::parse(&file).unwrap_err()
        };
        assert!(matches!(with(16, &[1, 0]), VmlinuxError::NotExecutable { e_type: 1 }));
        assert!(matches!(with(4, &[9]), VmlinuxError::Header(_)));
        assert!(matches!(with(32, &[0xff; 8]), VmlinuxError::Truncated { .. }));
        assert!(matches!(with(54, &[32, 0]), VmlinuxError::EntrySize { found: 32, .. }));
        assert!(matches!(with(56, &[0xff; 2]), VmlinuxError::Truncated { .. }));
        assert!(matches!(with(64, &[3, 0, 0, 0]), VmlinuxError::Interpreter));
        assert!(matches!(with(64 + 8, &[0xff; 8]), VmlinuxError::Truncated { .. }));
    }
}
