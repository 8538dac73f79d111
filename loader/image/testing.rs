//! Synthetic kernel files for tests.

use alloc::vec::Vec;

use goblin::elf::header::{EM_X86_64, ET_EXEC};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_LOAD};

/// The smallest useful bzImage: protocol 2.15, relocatable, 64-bit, two setup sectors, and
/// `payload` 0x300 bytes into its protected-mode part. Tests change fields with [`put`].
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    const PAYLOAD_OFFSET: usize = 0x300;
    const SETUP_SIZE: usize = 3 * 512;
    let kernel_size = (PAYLOAD_OFFSET + payload.len() + 4).next_multiple_of(16);
    let mut file = Vec::from([0; SETUP_SIZE]);
    file.resize(SETUP_SIZE + kernel_size, 0xcc);
    put(&mut file, SETUP_SIZE + PAYLOAD_OFFSET, payload);

    put(&mut file, 0x1f1, &[2]); // setup_sects
    put(&mut file, 0x1f4, &u32(kernel_size / 16)); // syssize
    put(&mut file, 0x1fe, &[0x55, 0xaa]); // boot_flag
    put(&mut file, 0x200, &[0xeb, 0x6a]); // jump to 0x26c, the end of the header
    put(&mut file, 0x202, b"HdrS");
    put(&mut file, 0x206, &[0x0f, 0x02]); // version
    put(&mut file, 0x211, &[1]); // loadflags: LOADED_HIGH
    put(&mut file, 0x22c, &u32(0x7fff_ffff)); // initrd_addr_max
    put(&mut file, 0x230, &u32(0x20_0000)); // kernel_alignment
    put(&mut file, 0x234, &[1]); // relocatable_kernel
    put(&mut file, 0x235, &[21]); // min_alignment
    put(&mut file, 0x236, &[0x03, 0]); // xloadflags: KERNEL_64, CAN_BE_LOADED_ABOVE_4G
    put(&mut file, 0x238, &u32(2047)); // cmdline_size
    put(&mut file, 0x248, &u32(PAYLOAD_OFFSET)); // payload_offset
    put(&mut file, 0x24c, &u32(payload.len())); // payload_length
    put(&mut file, 0x258, &0x100_0000_u64.to_le_bytes()); // pref_address
    put(&mut file, 0x260, &u32(0x40_0000)); // init_size
    file
}

/// Overwrites the bytes at `offset`.
pub(crate) fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn u32(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_le_bytes()
}

/// What a test wants of one PT_LOAD.
pub(crate) struct Segment<'a> {
    pub p_paddr: u64,
    pub data: &'a [u8],
    pub p_memsz: u64,
}

/// Class and byte order of a synthetic ELF file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub is_64: bool,
    pub is_little_endian: bool,
}

impl Layout {
    pub(crate) const X86_64: Self = Self { is_64: true, is_little_endian: true };
}

/// An executable for x86-64 whose entry is the first segment's address. Virtual addresses are
/// the kernel's (0xffffffff80000000 higher) in ELF-64, the physical ones in ELF-32.
pub(crate) fn vmlinux(layout: Layout, segments: &[Segment<'_>]) -> Vec<u8> {
    let mut file = Elf { layout, bytes: Vec::new() };
    let (header_size, entry_size) = if layout.is_64 { (64, 56) } else { (52, 32) };
    let mut data_offset = header_size + entry_size * segments.len();

    let class = if layout.is_64 { 2 } else { 1 };
    let data = if layout.is_little_endian { 1 } else { 2 };
    file.bytes.extend([0x7f, b'E', b'L', b'F', class, data, 1]);
    file.bytes.resize(16, 0);
    file.u16(ET_EXEC);
    file.u16(EM_X86_64);
    file.u32(1);
    file.address(segments.first().map_or(0, |segment| segment.p_paddr));
    file.address(header_size as u64); // e_phoff
    file.address(0); // e_shoff
    file.u32(0); // e_flags
    file.u16(u16::try_from(header_size).unwrap());
    file.u16(u16::try_from(entry_size).unwrap());
    file.u16(u16::try_from(segments.len()).unwrap());
    file.u16(0); // e_shentsize
    file.u16(0); // e_shnum
    file.u16(0); // e_shstrndx

    for segment in segments {
        file.program_header(segment, data_offset as u64);
        data_offset += segment.data.len();
    }
    for segment in segments {
        file.bytes.extend(segment.data);
    }
    file.bytes
}

struct Elf {
    layout: Layout,
    bytes: Vec<u8>,
}

impl Elf {
    fn program_header(&mut self, segment: &Segment<'_>, offset: u64) {
        let flags = PF_R | PF_W | PF_X;
        self.u32(PT_LOAD);
        if self.layout.is_64 {
            self.u32(flags);
        }
        self.address(offset);
        let virt = if self.layout.is_64 { 0xffff_ffff_8000_0000 } else { 0 };
        self.address(segment.p_paddr.wrapping_add(virt));
        self.address(segment.p_paddr);
        self.address(segment.data.len() as u64);
        self.address(segment.p_memsz);
        if !self.layout.is_64 {
            self.u32(flags);
        }
        self.address(0x1000);
    }

    fn u16(&mut self, value: u16) {
        let little = self.layout.is_little_endian;
        self.bytes.extend(if little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn u32(&mut self, value: u32) {
        let little = self.layout.is_little_endian;
        self.bytes.extend(if little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    /// A field that is as wide as an address.
    fn address(&mut self, value: u64) {
        if !self.layout.is_64 {
            return self.u32(u32::try_from(value).unwrap());
        }
        let little = self.layout.is_little_endian;
        self.bytes.extend(if little { value.to_le_bytes() } else { value.to_be_bytes() });
    }
}
