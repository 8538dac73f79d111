//! The kdump-compressed file: header, sub-header and page descriptors
//! (makedumpfile 1.7.2, IMPLEMENTATION, diskdump_mod.h).
//!
//! Numbers are in the byte order of the dead kernel and `long`s have its size. The file's unit is
//! the block, a page of that kernel:
//!
//! | blocks | content |
//! |---|---|
//! | 1 | [`Header`], its first part |
//! | [`Header::sub_header_blocks`] | its second part, then the ELF notes |
//! | [`Header::bitmap_blocks`] | a bit for each page frame that was RAM, then one for each that is in the file; lowest bit first |
//! | | a [`Descriptor`] for each page in the file, in order of page frames |
//! | | the pages, compressed one by one |

use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, Machine,
};
use object::{Endian, Endianness};

/// What the file starts with.
pub const SIGNATURE: &[u8; 8] = b"KDUMP   ";

/// The version that is written: the first with `max_mapnr_64`.
pub const VERSION: u32 = 6;

/// Size of `struct new_utsname`.
pub const UTSNAME_SIZE: usize = 6 * UTSNAME_FIELD;
const UTSNAME_FIELD: usize = 65;
/// Which of its fields is the machine, as `uname -m`.
const UTSNAME_MACHINE: usize = 4;

/// Bytes that hold the first part of the header, whatever the size of `long`.
pub const HEADER_SIZE: usize = 464;
/// Bytes that hold the second part, whatever the size of `long`.
pub const SUB_HEADER_SIZE: usize = 104;

/// Bit of [`Header::status`]: the writer did not come to the end.
pub const STATUS_INCOMPLETE: u32 = 8;

/// Smallest and largest page that any kernel has.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4096..=(1 << 20);

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file starts with something else.
    #[error("it does not start with \"KDUMP   \"")]
    Signature,
    /// The version has no sense in either byte order.
    #[error("its version {version:#x} is not one from 1 to 6 in either byte order")]
    Version {
        /// The version, read as little-endian.
        version: u32,
    },
    /// The size of `long` and the meaning of the memory are unknown.
    #[error("it is of a machine that is not known: {machine:?}")]
    Machine {
        /// As `uname -m`.
        machine: String,
    },
    /// The block size is no page size.
    #[error("its block size {block_size:#x} is not a page size")]
    BlockSize {
        /// In bytes.
        block_size: u32,
    },
}

/// A part of the file. All 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// `struct disk_dump_header` and `struct kdump_sub_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Byte order of the dead kernel.
    pub endianness: Endianness,
    /// Its machine; it says how large a `long` is.
    pub machine: Machine,
    /// Version of the format.
    pub version: u32,
    /// `struct new_utsname` of the dead kernel.
    pub utsname: Vec<u8>,
    /// When it died, in seconds since 1970.
    pub timestamp: u64,
    /// How the pages are compressed, [`STATUS_INCOMPLETE`].
    pub status: u32,
    /// Size of a block: a page of the dead kernel.
    pub block_size: u32,
    /// Blocks of the second part with all that follows it before the bitmaps.
    pub sub_header_blocks: u32,
    /// Blocks of both bitmaps.
    pub bitmap_blocks: u32,
    /// The number of page frames that each bitmap has a bit for.
    pub max_mapnr: u64,
    /// CPUs that have registers in the notes.
    pub nr_cpus: u32,
    /// x86_64: what the kernel image was moved by, as VMCOREINFO has it.
    pub phys_base: u64,
    /// Which pages were to be left out.
    pub dump_level: u32,
    /// Whether the file has only the page frames from `start_pfn` to before `end_pfn`.
    pub split: bool,
    /// First page frame of a split file.
    pub start_pfn: u64,
    /// The page frame after the last one of a split file.
    pub end_pfn: u64,
    /// Text of VMCOREINFO.
    pub vmcoreinfo: Part,
    /// ELF notes.
    pub notes: Part,
    /// What was erased of the memory.
    pub erase_info: Part,
}

impl Header {
    /// Reads both parts. `sub_header` is given the block size and returns the bytes from there on.
    pub fn decode<E: From<HeaderError>>(
        first: &[u8; HEADER_SIZE],
        sub_header: impl FnOnce(u32) -> Result<[u8; SUB_HEADER_SIZE], E>,
    ) -> Result<Self, E> {
        if !first.starts_with(SIGNATURE) {
            return Err(HeaderError::Signature.into());
        }
        let version = [first[8], first[9], first[10], first[11]];
        let (little, big) = (u32::from_le_bytes(version), u32::from_be_bytes(version));
        let (endianness, version) = match (little, big) {
            (1..=VERSION, _) => (Endianness::Little, little),
            (_, 1..=VERSION) => (Endianness::Big, big),
            _ => return Err(HeaderError::Version { version: little }.into()),
        };
        let utsname = &first[12..12 + UTSNAME_SIZE];
        let machine = machine_of(utsname)?;
        let mut fields = Decoder { bytes: first, at: 12 + UTSNAME_SIZE, endianness, machine };
        fields.align();
        let timestamp = fields.long();
        fields.long();
        let status = fields.u32();
        let block_size = fields.u32();
        if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
            return Err(HeaderError::BlockSize { block_size }.into());
        }
        let sub_header_blocks = fields.u32();
        let bitmap_blocks = fields.u32();
        let max_mapnr = u64::from(fields.u32());
        // total_ram_blocks, device_blocks, written_blocks, current_cpu: of other formats.
        for _ in 0..4 {
            fields.u32();
        }
        let nr_cpus = fields.u32();

        let second = sub_header(block_size)?;
        let mut fields = Decoder { bytes: &second, at: 0, endianness, machine };
        // Fields that an old version does not have stand where the file has zeros.
        let since = |first_version, value| if version >= first_version { value } else { 0 };
        let phys_base = fields.long();
        let dump_level = u32::try_from(since(1, u64::from(fields.u32()))).unwrap_or_default();
        let split = since(2, u64::from(fields.u32())) != 0;
        let (start, end) = (since(2, fields.long()), since(2, fields.long()));
        let mut part = |first_version| Part {
            offset: since(first_version, fields.u64()),
            size: since(first_version, fields.long()),
        };
        let (vmcoreinfo, notes, erase_info) = (part(3), part(4), part(5));
        let (start_64, end_64, max_64) = (fields.u64(), fields.u64(), fields.u64());
        let (start_pfn, end_pfn, max_mapnr) =
            if version >= 6 { (start_64, end_64, max_64) } else { (start, end, max_mapnr) };
        Ok(Self {
            endianness,
            machine,
            version,
            utsname: utsname.to_vec(),
            timestamp,
            status,
            block_size,
            sub_header_blocks,
            bitmap_blocks,
            max_mapnr,
            nr_cpus,
            phys_base,
            dump_level,
            split,
            start_pfn,
            end_pfn,
            vmcoreinfo,
            notes,
            erase_info,
        })
    }

    /// The first block.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.encoder();
        fields.bytes.extend(SIGNATURE);
        fields.u32(self.version);
        fields.bytes.extend(&self.utsname);
        fields.bytes.resize(12 + UTSNAME_SIZE, 0);
        fields.align();
        fields.long(self.timestamp);
        fields.long(0);
        fields.u32(self.status);
        fields.u32(self.block_size);
        fields.u32(self.sub_header_blocks);
        fields.u32(self.bitmap_blocks);
        // Readers of version 6 take max_mapnr_64.
        fields.u32(u32::try_from(self.max_mapnr).unwrap_or(u32::MAX));
        for _ in 0..4 {
            fields.u32(0);
        }
        fields.u32(self.nr_cpus);
        fields.bytes.resize(self.block_size as usize, 0);
        fields.bytes
    }

    /// The sub-header, which the second block starts with.
    pub fn encode_sub_header(&self) -> Vec<u8> {
        let mut fields = self.encoder();
        fields.long(self.phys_base);
        fields.u32(self.dump_level);
        fields.u32(self.split.into());
        fields.long(self.start_pfn);
        fields.long(self.end_pfn);
        for part in [self.vmcoreinfo, self.notes, self.erase_info] {
            fields.u64(part.offset);
            fields.long(part.size);
        }
        for number in [self.start_pfn, self.end_pfn, self.max_mapnr] {
            fields.u64(number);
        }
        fields.bytes
    }

    /// Offset of the bitmap of the page frames that were RAM.
    pub fn bitmap_offset(&self) -> u64 {
        (1 + u64::from(self.sub_header_blocks)) * u64::from(self.block_size)
    }

    /// Size of one bitmap in bytes.
    pub fn bitmap_size(&self) -> u64 {
        u64::from(self.bitmap_blocks) * u64::from(self.block_size) / 2
    }

    /// Offset of the first descriptor.
    pub fn descriptors_offset(&self) -> u64 {
        self.bitmap_offset() + u64::from(self.bitmap_blocks) * u64::from(self.block_size)
    }

    fn encoder(&self) -> Encoder {
        Encoder { bytes: Vec::new(), endianness: self.endianness, machine: self.machine }
    }
}

/// `struct page_desc`: where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes there.
    pub size: u32,
    /// How they are compressed ([`super::page`]); 0 if they are the page itself.
    pub flags: u32,
}

impl Descriptor {
    /// Bytes of a descriptor in the file.
    pub const SIZE: usize = 24;

    /// Reads one.
    pub fn decode(bytes: &[u8; Self::SIZE], endianness: Endianness) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *bytes;
        Self {
            offset: endianness.read_u64([a, b, c, d, e, f, g, h]),
            size: endianness.read_u32([i, j, k, l]),
            flags: endianness.read_u32([m, n, o, p]),
        }
    }

    /// Appends it to `bytes`.
    pub fn encode(&self, endianness: Endianness, bytes: &mut Vec<u8>) {
        bytes.extend(endianness.write_u64(self.offset));
        bytes.extend(endianness.write_u32(self.size));
        bytes.extend(endianness.write_u32(self.flags));
        // page_flags, which nobody fills.
        bytes.extend([0; 8]);
    }
}

/// `struct new_utsname` with what is known of a kernel.
pub fn utsname(release: &str, machine: Machine, endianness: Endianness) -> Vec<u8> {
    let machine = match machine {
        EM_386 => "i686",
        EM_X86_64 => "x86_64",
        EM_PPC64 if endianness.is_little_endian() => "ppc64le",
        EM_PPC64 => "ppc64",
        EM_AARCH64 => "aarch64",
        EM_RISCV => "riscv64",
        EM_S390 => "s390x",
        _ => "unknown",
    };
    let fields = ["Linux", "(none)", release, "(unknown)", machine, "(none)"];
    let mut bytes = Vec::with_capacity(UTSNAME_SIZE);
    for (number, field) in (1..).zip(fields) {
        bytes.extend(field.bytes().take(UTSNAME_FIELD - 1));
        bytes.resize(number * UTSNAME_FIELD, 0);
    }
    bytes
}

/// The machine that `struct new_utsname` names.
pub fn machine_of(utsname: &[u8]) -> Result<Machine, HeaderError> {
    let field = utsname.chunks(UTSNAME_FIELD).nth(UTSNAME_MACHINE).unwrap_or_default();
    let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
    match name {
        b"i386" | b"i486" | b"i586" | b"i686" => Ok(EM_386),
        b"x86_64" => Ok(EM_X86_64),
        b"ppc64" | b"ppc64le" => Ok(EM_PPC64),
        b"aarch64" => Ok(EM_AARCH64),
        b"riscv64" => Ok(EM_RISCV),
        b"s390x" => Ok(EM_S390),
        _ => Err(HeaderError::Machine { machine: String::from_utf8_lossy(name).into_owned() }),
    }
}

/// Whether `long` has 64 bits on `machine`. 32-bit x86 aligns 64-bit numbers to 32 bits, so that
/// without it there is no padding either.
fn has_64_bit_long(machine: Machine) -> bool {
    !matches!(machine, EM_386 | EM_ARM | EM_PPC)
}

struct Encoder {
    bytes: Vec<u8>,
    endianness: Endianness,
    machine: Machine,
}

impl Encoder {
    fn u32(&mut self, number: u32) {
        self.bytes.extend(self.endianness.write_u32(number));
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend(self.endianness.write_u64(number));
    }

    /// A number that a 32-bit kernel has no more than 32 bits of; the 64-bit fields have the rest.
    #[expect(clippy::cast_possible_truncation)]
    fn long(&mut self, number: u64) {
        if has_64_bit_long(self.machine) { self.u64(number) } else { self.u32(number as u32) }
    }

    /// Pads to the alignment of `long`.
    fn align(&mut self) {
        let alignment = if has_64_bit_long(self.machine) { 8 } else { 4 };
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }
}

/// Reads numbers one after the other; behind the end there are zeros.
struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    endianness: Endianness,
    machine: Machine,
}

impl Decoder<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied();
        self.at += N;
        field.unwrap_or([0; N])
    }

    fn u32(&mut self) -> u32 {
        self.endianness.read_u32(self.take())
    }

    fn u64(&mut self) -> u64 {
        self.endianness.read_u64(self.take())
    }

    fn long(&mut self) -> u64 {
        if has_64_bit_long(self.machine) { self.u64() } else { self.u32().into() }
    }

    fn align(&mut self) {
        let alignment = if has_64_bit_long(self.machine) { 8 } else { 4 };
        self.at = self.at.next_multiple_of(alignment);
    }
}
