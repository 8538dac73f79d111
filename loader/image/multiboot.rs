//! Kernels with a Multiboot header, of either version: an ELF file or a flat one, with a header near
//! its beginning that says how it wants to be started.
//!
//! Layouts: "Multiboot Specification version 0.6.96" and "Multiboot2 Specification version 2.0",
//! both 3.1 "OS image format". All fields are little-endian.

use alloc::borrow::Cow;
use alloc::vec;

use goblin::elf::header::{ELFMAG, EM_386, EM_X86_64};

use super::slice;
use super::vmlinux::{Load, Vmlinux, VmlinuxError};
use crate::range::PhysRange;

/// A kernel with a Multiboot header.
#[derive(Clone, Debug)]
pub struct Multiboot<'a> {
    /// Which specification it follows.
    pub version: Version,
    /// What is loaded.
    pub program: Vmlinux<'a>,
    /// Physical address of its first instruction.
    pub entry: u64,
    /// Where the program may be moved to (version 2); `None`: it runs where it is linked.
    pub relocatable: Option<Relocatable>,
}

/// Versions of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Multiboot 0.6.96.
    One,
    /// Multiboot2 2.0.
    Two,
}

/// The "relocatable" tag of a version 2 header. Addresses are physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocatable {
    /// Lowest address that the program may have.
    pub min: u32,
    /// Highest address that its last byte may have.
    pub max: u32,
    /// Its alignment, a power of two.
    pub align: u32,
}

impl<'a> Multiboot<'a> {
    /// Parses `file`, of which [`has_header`] holds for `version`.
    pub fn parse(file: &'a [u8], version: Version) -> Result<Self, MultibootError> {
        let at = find(file, version).ok_or(MultibootError::NoHeader)?;
        let wishes = match version {
            Version::One => Wishes::of_first(file, at)?,
            Version::Two => Wishes::of_second(file, at)?,
        };
        let mut program = match wishes.addresses {
            Some(addresses) => flat(file, at, addresses)?,
            None => Vmlinux::parse(file)?,
        };
        let range = program.range();
        if range.end > 1 << 32 {
            return Err(MultibootError::Above4G { range });
        }
        let entry = match wishes.entry {
            Some(entry) => {
                program.entry = entry.into();
                program.entry_by_p_paddr()
            }
            None if wishes.addresses.is_some() => return Err(MultibootError::NoEntry),
            // Of a kernel that is linked to run at other addresses than it is loaded at, either.
            None => program.entry_by_p_vaddr().or(program.entry_by_p_paddr()),
        };
        let entry = entry.ok_or(MultibootError::Entry { entry: program.entry, range })?;
        Ok(Self { version, program, entry, relocatable: wishes.relocatable })
    }
}

/// Whether `file` has a header of this version and is not an ELF file for another kind of machine.
pub fn has_header(file: &[u8], version: Version) -> bool {
    let is_foreign =
        file.starts_with(ELFMAG) && !matches!(half(file, 18), Some(EM_386 | EM_X86_64));
    !is_foreign && find(file, version).is_some()
}

/// File offset of the header. It lies within the first 8 KiB of the file, in version 2 within 32,
/// and its fields up to the checksum add up to zero.
fn find(file: &[u8], version: Version) -> Option<usize> {
    let (magic, reach, align, fields) = match version {
        Version::One => (0x1bad_b002, 8 << 10, 4, 3),
        Version::Two => (0xe852_50d6, 32 << 10, 8, 4),
    };
    let searched = &file[..file.len().min(reach)];
    (0..searched.len()).step_by(align).find(|&at| {
        let sum = |fields: usize| {
            (0..fields).try_fold(0_u32, |sum, index| {
                Some(sum.wrapping_add(word(searched, at + 4 * index)?))
            })
        };
        word(searched, at) == Some(magic) && sum(fields) == Some(0)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let field = slice(bytes, at as u64, 4)?;
    Some(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let field = slice(bytes, at as u64, 2)?;
    Some(u16::from_le_bytes([field[0], field[1]]))
}

/// What a header asks for.
#[derive(Default)]
struct Wishes {
    addresses: Option<Addresses>,
    entry: Option<u32>,
    relocatable: Option<Relocatable>,
}

/// Of a file that is not ELF, or whose ELF headers do not count: where its bytes go. Both versions
/// have these four fields in this order.
#[derive(Clone, Copy)]
struct Addresses {
    header_addr: u32,
    load_addr: u32,
    load_end_addr: u32,
    bss_end_addr: u32,
}

impl Addresses {
    fn read(file: &[u8], at: usize) -> Result<Self, MultibootError> {
        let field = |index: usize| word_of("the address fields", file, at + 4 * index);
        Ok(Self {
            header_addr: field(0)?,
            load_addr: field(1)?,
            load_end_addr: field(2)?,
            bss_end_addr: field(3)?,
        })
    }
}

fn word_of(what: &'static str, file: &[u8], at: usize) -> Result<u32, MultibootError> {
    word(file, at).ok_or(MultibootError::Truncated { what, offset: at as u64, file: file.len() })
}

impl Wishes {
    /// Bits 0 to 15 of the flags are demands that a loader must refuse if it does not know them. Bit
    /// 0, modules on pages of their own, and bit 1, what memory there is, always hold here; bit 2
    /// asks for a video mode if there is one to tell.
    fn of_first(file: &[u8], at: usize) -> Result<Self, MultibootError> {
        const KNOWN: u32 = 0b111;
        const ADDRESSES: u32 = 1 << 16;
        let flags = word_of("the flags", file, at + 4)?;
        if flags & 0xffff & !KNOWN != 0 {
            return Err(MultibootError::Flags { flags });
        }
        if flags & ADDRESSES == 0 {
            return Ok(Self::default());
        }
        let entry = word_of("entry_addr", file, at + 28)?;
        let addresses = Addresses::read(file, at + 12)?;
        Ok(Self { addresses: Some(addresses), entry: Some(entry), relocatable: None })
    }

    fn of_second(file: &[u8], at: usize) -> Result<Self, MultibootError> {
        const I386: u32 = 0;
        let architecture = word_of("the architecture", file, at + 4)?;
        if architecture != I386 {
            return Err(MultibootError::Architecture { architecture });
        }
        let length = word_of("the header's length", file, at + 8)?;
        let header = slice(file, at as u64, length.into()).ok_or(MultibootError::Truncated {
            what: "the header",
            offset: at as u64,
            file: file.len(),
        })?;
        let mut wishes = Self::default();
        let mut tag_at = 16;
        loop {
            let tag = Tag::read(header, tag_at)?;
            if tag.kind == Tag::END {
                return Ok(wishes);
            }
            wishes.take(&tag)?;
            tag_at = tag_at.saturating_add(tag.bytes.len()).next_multiple_of(8);
        }
    }

    fn take(&mut self, tag: &Tag<'_>) -> Result<(), MultibootError> {
        let field = |index: usize| word_of("a tag", tag.bytes, 8 + 4 * index);
        match tag.kind {
            Tag::INFORMATION_REQUEST => tag.check_requests()?,
            Tag::ADDRESS => self.addresses = Some(Addresses::read(tag.bytes, 8)?),
            Tag::ENTRY_ADDRESS => self.entry = Some(field(0)?),
            Tag::RELOCATABLE => {
                let align = field(2)?.max(1);
                if !align.is_power_of_two() {
                    return Err(MultibootError::Alignment { align });
                }
                // The fourth field is a preference for either end.
                let (min, max) = (field(0)?, field(1)?);
                self.relocatable = Some(Relocatable { min, max, align });
            }
            // Modules are on pages of their own always; consoles and video modes are as they are; the
            // entries for EFI are for loaders that leave its boot services running.
            Tag::CONSOLE_FLAGS
            | Tag::FRAMEBUFFER
            | Tag::MODULE_ALIGN
            | Tag::EFI_I386_ENTRY
            | Tag::EFI_AMD64_ENTRY => {}
            Tag::EFI_BOOT_SERVICES if !tag.is_optional => return Err(MultibootError::BootServices),
            kind if !tag.is_optional => return Err(MultibootError::Tag { kind }),
            _optional => {}
        }
        Ok(())
    }
}

/// One tag of a version 2 header.
struct Tag<'a> {
    kind: u16,
    is_optional: bool,
    /// All of it, with its type and size.
    bytes: &'a [u8],
}

impl<'a> Tag<'a> {
    const END: u16 = 0;
    const INFORMATION_REQUEST: u16 = 1;
    const ADDRESS: u16 = 2;
    const ENTRY_ADDRESS: u16 = 3;
    const CONSOLE_FLAGS: u16 = 4;
    const FRAMEBUFFER: u16 = 5;
    const MODULE_ALIGN: u16 = 6;
    const EFI_BOOT_SERVICES: u16 = 7;
    const EFI_I386_ENTRY: u16 = 8;
    const EFI_AMD64_ENTRY: u16 = 9;
    const RELOCATABLE: u16 = 10;

    fn read(header: &'a [u8], at: usize) -> Result<Self, MultibootError> {
        let truncated =
            MultibootError::Truncated { what: "a tag", offset: at as u64, file: header.len() };
        let tag = || {
            let size = word(header, at.checked_add(4)?)?;
            // Its type and size belong to it.
            let bytes = slice(header, at as u64, size.into()).filter(|_| size >= 8)?;
            let is_optional = half(bytes, 2)? & 1 != 0;
            Some(Self { kind: half(bytes, 0)?, is_optional, bytes })
        };
        tag().ok_or(truncated)
    }

    /// A kernel may ask for what the specification knows. It is not told all of that: the ACPI root
    /// pointer, SMBIOS, EFI, APM and VBE tables, the framebuffer and its ELF sections are left out of
    /// the information, as is allowed, even if it demands them. What is not known cannot be given.
    fn check_requests(&self) -> Result<(), MultibootError> {
        const LAST_KNOWN: u32 = 21;
        let requests = self.bytes[8..].as_chunks::<4>().0.iter().map(|r| u32::from_le_bytes(*r));
        match requests.filter(|kind| *kind > LAST_KNOWN && !self.is_optional).max() {
            Some(kind) => Err(MultibootError::Request { kind }),
            None => Ok(()),
        }
    }
}

/// The program of a file that is loaded by address fields. The bytes before the header are loaded
/// as well, as many as the fields say.
fn flat<'a>(
    file: &'a [u8],
    header_at: usize,
    addresses: Addresses,
) -> Result<Vmlinux<'a>, MultibootError> {
    let Addresses { header_addr, load_addr, load_end_addr, bss_end_addr } = addresses;
    let contradiction =
        || MultibootError::Addresses { header_addr, load_addr, load_end_addr, bss_end_addr };
    let parts = || {
        let header_at = u32::try_from(header_at).ok()?;
        // Version 2: from the beginning of the file.
        let load_addr =
            if load_addr == u32::MAX { header_addr.checked_sub(header_at)? } else { load_addr };
        let offset = header_at.checked_sub(header_addr.checked_sub(load_addr)?)?;
        let bytes = file.get(usize::try_from(offset).ok()?..)?;
        let data = match load_end_addr {
            0 => bytes,
            end => slice(bytes, 0, end.checked_sub(load_addr)?.into())?,
        };
        let p_memsz = match bss_end_addr {
            0 => data.len() as u64,
            end => u64::from(end.checked_sub(load_addr)?).max(data.len() as u64),
        };
        Some((u64::from(load_addr), data, p_memsz))
    };
    let (p_paddr, data, p_memsz) = parts().ok_or_else(contradiction)?;
    if p_memsz == 0 || p_paddr + p_memsz > 1 << 32 {
        return Err(contradiction());
    }
    let data = Cow::Borrowed(data);
    let load = Load { data, p_paddr, p_vaddr: p_paddr, p_memsz, p_align: 1, flags: 7 };
    Ok(Vmlinux {
        entry: p_paddr,
        machine: EM_386,
        is_64: false,
        is_little_endian: true,
        loads: vec![load],
        tail: &[],
    })
}

/// Why a Multiboot kernel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MultibootError {
    /// No header.
    #[error("the file has no Multiboot header of this version near its beginning")]
    NoHeader,
    /// The file ends too early.
    #[error(
        "the Multiboot header is truncated: {what} at {offset:#x} ends behind the {file:#x} bytes \
         that there are; copy or build the kernel again"
    )]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Where it begins, in the file or, of a tag, in the header.
        offset: u64,
        /// How many bytes there are.
        file: usize,
    },
    /// Demands that nobody here knows.
    #[error(
        "the Multiboot header demands by its flags {flags:#x} what is not known here: of the bits \
         0 to 15 those are 0, 1 and 2"
    )]
    Flags {
        /// The header's flags.
        flags: u32,
    },
    /// Another kind of machine.
    #[error("the Multiboot2 header is for architecture {architecture}: only i386 (0) is for PCs")]
    Architecture {
        /// What it says.
        architecture: u32,
    },
    /// A tag that must be understood.
    #[error("the Multiboot2 header has a tag of type {kind}, which is not known and not optional")]
    Tag {
        /// Its type.
        kind: u16,
    },
    /// Information that must be given.
    #[error("the Multiboot2 kernel demands information of type {kind}, which is not known here")]
    Request {
        /// Its type.
        kind: u32,
    },
    /// EFI's boot services must still run.
    #[error(
        "the Multiboot2 kernel wants to be started by EFI with its boot services, which ended when \
         the running kernel started: only a boot loader can start it"
    )]
    BootServices,
    /// The alignment of a relocatable program.
    #[error("the Multiboot2 header wants an alignment of {align:#x}, which is no power of two")]
    Alignment {
        /// What it says.
        align: u32,
    },
    /// The address fields contradict each other or the file.
    #[error(
        "the Multiboot header's addresses do not describe this file: header_addr {header_addr:#x}, \
         load_addr {load_addr:#x}, load_end_addr {load_end_addr:#x}, bss_end_addr {bss_end_addr:#x}"
    )]
    Addresses {
        /// Where the header goes.
        header_addr: u32,
        /// Where the first byte goes.
        load_addr: u32,
        /// Where what is loaded ends; 0: at the file's end.
        load_end_addr: u32,
        /// Where the cleared memory behind it ends; 0: there is none.
        bss_end_addr: u32,
    },
    /// Address fields without an entry.
    #[error(
        "the Multiboot2 header has addresses but no entry address tag: nothing says where to start"
    )]
    NoEntry,
    /// The kernel is where its entry cannot be.
    #[error(
        "the Multiboot kernel at {range} does not end below 4 GiB, where it is entered in 32-bit \
         mode; link it lower"
    )]
    Above4G {
        /// From the first to the last byte that is loaded.
        range: PhysRange,
    },
    /// The entry is not in what is loaded.
    #[error("the Multiboot kernel's entry {entry:#x} is in nothing that is loaded ({range})")]
    Entry {
        /// The header's, or `e_entry`.
        entry: u64,
        /// From the first to the last byte that is loaded.
        range: PhysRange,
    },
    /// The ELF file around it.
    #[error(transparent)]
    Elf(#[from] VmlinuxError),
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::image::testing::{self, Layout, Segment, put};

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A flat file of version 1: 8 bytes, the header, four more bytes; loaded at 1 MiB.
    fn first(flags: u32) -> Vec<u8> {
        let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
        let header = words(&[
            0x1bad_b002,
            flags,
            checksum,
            0x10_0008,
            0x10_0000,
            0x10_002c,
            0x10_1000,
            0x10_0028,
        ]);
        [&[0x90; 8], &header[..], b"code"].concat()
    }

    /// The same of version 2, with these tags.
    fn second(tags: &[&[u32]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for tag in tags {
            bytes.extend(words(tag));
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.extend(words(&[0, 8]));
        let length = u32::try_from(16 + bytes.len()).unwrap();
        let checksum = 0_u32.wrapping_sub(0xe852_50d6).wrapping_sub(length);
        [words(&[0xe852_50d6, 0, length, checksum]), bytes, b"code".to_vec()].concat()
    }

    const ADDRESS: &[u32] = &[2, 24, 0x10_0000, u32::MAX, 0, 0x10_1000];
    const ENTRY: &[u32] = &[3, 12, 0x10_0050];

    fn error_of_second(tags: &[&[u32]]) -> MultibootError {
        Multiboot::parse(&second(tags), Version::Two).unwrap_err()
    }

    #[test]
    fn address_fields_say_what_is_loaded() {
        let file = first(0x1_0003);
        let kernel = Multiboot::parse(&file, Version::One).unwrap();
        let load = &kernel.program.loads[0];
        assert_eq!((load.p_paddr, load.p_memsz), (0x10_0000, 0x1000));
        assert_eq!(*load.data, file[..0x2c]);
        assert_eq!(kernel.entry, 0x10_0028);
    }

    #[test]
    fn the_second_version_may_load_all_of_the_file() {
        let file = second(&[ADDRESS, ENTRY]);
        let kernel = Multiboot::parse(&file, Version::Two).unwrap();
        let load = &kernel.program.loads[0];
        assert_eq!((load.p_paddr, load.p_memsz), (0x10_0000, 0x1000));
        assert_eq!(*load.data, *file);
        assert_eq!(kernel.entry, 0x10_0050);
        assert_eq!(kernel.relocatable, None);
    }

    #[test]
    fn an_elf_file_is_loaded_by_its_headers() {
        let layout = Layout { is_64: false, is_little_endian: true };
        let data = [&first(3)[8..20], b"code"].concat();
        let segment = Segment { p_paddr: 0x10_0000, data: &data, p_memsz: 0x100 };
        let mut file = testing::vmlinux(layout, &[segment]);
        let kernel = Multiboot::parse(&file, Version::One).unwrap();
        assert_eq!((kernel.entry, kernel.program.loads.len()), (0x10_0000, 1));
        assert!(has_header(&file, Version::One) && !has_header(&file, Version::Two));
        put(&mut file, 18, &[21, 0]); // EM_PPC64
        assert!(!has_header(&file, Version::One));
    }

    #[test]
    fn what_is_demanded_must_be_known() {
        assert!(Multiboot::parse(&first(0x1_0007), Version::One).is_ok());
        let error = Multiboot::parse(&first(0x1_0008), Version::One).unwrap_err();
        assert!(error.to_string().contains("flags 0x10008"), "{error}");
        let unknown = error_of_second(&[ADDRESS, ENTRY, &[99, 8]]);
        assert!(matches!(unknown, MultibootError::Tag { kind: 99 }));
        let optional = second(&[ADDRESS, ENTRY, &[99 | 1 << 16, 8], &[1 | 1 << 16, 12, 99]]);
        assert!(Multiboot::parse(&optional, Version::Two).is_ok());
        let request = error_of_second(&[ADDRESS, ENTRY, &[1, 16, 6, 99]]);
        assert!(matches!(request, MultibootError::Request { kind: 99 }));
        assert!(matches!(error_of_second(&[&[7, 8]]), MultibootError::BootServices));
    }

    #[test]
    fn a_relocatable_program_says_where() {
        let tag = [10, 24, 0x20_0000, 0x3fff_ffff, 0x20_0000, 2];
        let kernel = second(&[ADDRESS, ENTRY, &tag]);
        let wanted = Relocatable { min: 0x20_0000, max: 0x3fff_ffff, align: 0x20_0000 };
        let kernel = Multiboot::parse(&kernel, Version::Two).unwrap();
        assert_eq!(kernel.relocatable, Some(wanted));
        let odd = error_of_second(&[&[10, 24, 0, 1, 3, 0]]);
        assert!(matches!(odd, MultibootError::Alignment { align: 3 }));
    }

    #[test]
    fn contradictions_are_refused() {
        let good = first(0x1_0003);
        for (field, value) in
            [(12, 0x0f_0000), (16, 0x10_0009), (20, 0x0f_0000), (20, 0x20_0000), (24, 0x0f_0000)]
        {
            let mut file = good.clone();
            put(&mut file, 8 + field, &u32::to_le_bytes(value));
            let error = Multiboot::parse(&file, Version::One).unwrap_err();
            assert!(matches!(error, MultibootError::Addresses { .. }), "{field}: {error}");
        }
        assert!(matches!(error_of_second(&[ADDRESS]), MultibootError::NoEntry));
        // A tag that does not even hold its own size would never end.
        let endless = error_of_second(&[&[3, 0]]);
        assert!(matches!(endless, MultibootError::Truncated { .. }));
    }

    #[test]
    fn the_entry_is_in_what_is_loaded_and_below_4_gib() {
        for outside in [0, 0x0f_ffff, 0x10_1000, u32::MAX] {
            let mut file = first(0x1_0003);
            put(&mut file, 8 + 28, &outside.to_le_bytes());
            let error = Multiboot::parse(&file, Version::One).unwrap_err();
            assert!(matches!(error, MultibootError::Entry { .. }), "{outside:#x}: {error}");
            let error = error_of_second(&[ADDRESS, &[3, 12, outside]]);
            assert!(matches!(error, MultibootError::Entry { .. }), "{outside:#x}: {error}");
        }
        let at = |p_paddr| {
            let data = second(&[]);
            let segment = Segment { p_paddr, data: &data, p_memsz: 0x1000 };
            let file = testing::vmlinux(Layout::X86_64, &[segment]);
            Multiboot::parse(&file, Version::Two).map(|kernel| kernel.entry)
        };
        assert_eq!(at(0xffff_f000).unwrap(), 0xffff_f000);
        for p_paddr in [0xffff_f008, 1 << 32] {
            let error = at(p_paddr).unwrap_err();
            assert!(matches!(error, MultibootError::Above4G { .. }), "{p_paddr:#x}: {error}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_no_header() {
        let mut file = first(3);
        put(&mut file, 16, &[0]);
        assert!(!has_header(&file, Version::One));
    }

    #[test]
    fn damage_gives_an_answer() {
        for (file, version) in [
            (first(0x1_0003), Version::One),
            (second(&[ADDRESS, ENTRY, &[1, 12, 6]]), Version::Two),
        ] {
            for length in 0..file.len() {
                drop(Multiboot::parse(&file[..length], version));
            }
            let mut damaged = file.clone();
            for offset in 0..file.len() {
                for flipped in [1, 0x10, 0x80, 0xff] {
                    damaged[offset] = file[offset] ^ flipped;
                    drop(Multiboot::parse(&damaged, version));
                }
                damaged[offset] = file[offset];
            }
        }
    }
}
