//! Small kernel files that are valid in every field that a loader reads, made here so that the
//! tests need no real kernel. They would not boot.

/// Where the setup header's fields are in the file (kernel 6.1 Documentation/x86/boot.rst).
pub const CMDLINE_SIZE: usize = 0x238;
/// End of the setup header.
pub const HEADER_END: usize = 0x26c;
/// Start of the setup header.
pub const HEADER_START: usize = 0x1f1;

const PAYLOAD_OFFSET: usize = 0x400;
const SETUP_SIZE: usize = 5 * 512;

/// A relocatable 64-bit bzImage of boot protocol 2.15 whose payload is [`vmlinux`], compressed.
pub fn bzimage() -> Vec<u8> {
    let mut payload = lz4_legacy(&vmlinux());
    // The kernel's build puts the unpacked size behind every payload but gzip's.
    payload.extend(len32(vmlinux().len()));

    let kernel_size = (PAYLOAD_OFFSET + payload.len()).next_multiple_of(16);
    let mut file = vec![0; SETUP_SIZE];
    file.resize(SETUP_SIZE + kernel_size, 0xcc);
    let mut put = |offset: usize, bytes: &[u8]| {
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0x1f1, &[4]); // setup_sects
    put(0x1f4, &len32(kernel_size / 16)); // syssize
    put(0x1fe, &[0x55, 0xaa]); // boot_flag
    put(0x200, &[0xeb, 0x6a]); // jump over the header
    put(0x202, b"HdrS");
    put(0x206, &[0x0f, 0x02]); // version
    put(0x211, &[0x01]); // loadflags: LOADED_HIGH
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    put(0x230, &0x20_0000_u32.to_le_bytes()); // kernel_alignment
    put(0x234, &[1]); // relocatable_kernel
    put(0x235, &[21]); // min_alignment
    put(0x236, &0x3f_u16.to_le_bytes()); // xloadflags: as a generic Debian kernel
    put(CMDLINE_SIZE, &2047_u32.to_le_bytes());
    put(0x248, &len32(PAYLOAD_OFFSET)); // payload_offset
    put(0x24c, &len32(payload.len())); // payload_length
    put(0x258, &0x100_0000_u64.to_le_bytes()); // pref_address
    put(0x260, &0x40_0000_u32.to_le_bytes()); // init_size
    put(SETUP_SIZE + PAYLOAD_OFFSET, &payload);
    file
}

/// An ELF-64 x86-64 kernel with two PT_LOADs: text with the entry, and data with zeroes behind.
pub fn vmlinux() -> Vec<u8> {
    const HEADERS: usize = 64 + 2 * 56;
    let text: Vec<u8> = (0..0x3000_u32).map(|i| (i % 251) as u8).collect();
    let data = vec![0x5a; 0x1000];
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01");
    file.resize(16, 0);
    file.extend(2_u16.to_le_bytes()); // ET_EXEC
    file.extend(62_u16.to_le_bytes()); // EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend(0x100_0000_u64.to_le_bytes()); // e_entry
    file.extend(64_u64.to_le_bytes()); // e_phoff
    file.extend(0_u64.to_le_bytes()); // e_shoff
    file.extend(0_u32.to_le_bytes()); // e_flags
    for half in [64_u16, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, no sections
    }
    let text_offset = 0x1000;
    let data_offset = text_offset + text.len();
    program_header(&mut file, 5, text_offset, 0x100_0000, text.len(), 0x20_0000);
    program_header(&mut file, 6, data_offset, 0x120_0000, data.len(), 0x10_0000);
    assert_eq!(file.len(), HEADERS);
    file.resize(text_offset, 0);
    file.extend(text);
    file.extend(data);
    file
}

fn program_header(
    file: &mut Vec<u8>,
    flags: u32,
    offset: usize,
    p_paddr: u64,
    filesz: usize,
    memsz: u64,
) {
    file.extend(1_u32.to_le_bytes()); // PT_LOAD
    file.extend(flags.to_le_bytes());
    for field in
        [offset as u64, 0xffff_ffff_8000_0000 + p_paddr, p_paddr, filesz as u64, memsz, 0x20_0000]
    {
        file.extend(field.to_le_bytes());
    }
}

/// The LZ4 legacy frame that the kernel's build makes, with literals only: one block, whose one
/// sequence has no match.
pub fn lz4_legacy(bytes: &[u8]) -> Vec<u8> {
    const IN_TOKEN: usize = 15;
    let mut block = vec![0xf0];
    let mut rest = bytes.len().checked_sub(IN_TOKEN).expect("the tests' files are not that small");
    while let Some(less) = rest.checked_sub(255) {
        block.push(255);
        rest = less;
    }
    block.push(u8::try_from(rest).expect("less than 255 are left"));
    block.extend(bytes);

    let mut frame = vec![0x02, 0x21, 0x4c, 0x18];
    frame.extend(len32(block.len()));
    frame.extend(block);
    frame
}

fn len32(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("the tests' files are small").to_le_bytes()
}
