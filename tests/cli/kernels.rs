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
    // xloadflags as of a generic Debian kernel.
    bzimage_of(&vmlinux(), 0x3f, 0x20_0000)
}

/// The same of a 32-bit kernel, with the relocation table behind it.
pub fn bzimage_i386() -> Vec<u8> {
    let mut kernel = vmlinux_i386();
    // Kernel 6.1 arch/x86/tools/relocs.c: a zero, then virtual addresses of words.
    for word in [0, 0xc100_0004_u32, 0xc120_0000] {
        kernel.extend(word.to_le_bytes());
    }
    bzimage_of(&kernel, 0x04, 0x100_0000)
}

/// A bzImage with this kernel in its payload.
pub fn bzimage_of(kernel: &[u8], xloadflags: u16, alignment: u32) -> Vec<u8> {
    let mut payload = lz4_legacy(kernel);
    // The kernel's build puts the unpacked size behind every payload but gzip's.
    payload.extend(len32(kernel.len()));

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
    put(0x230, &alignment.to_le_bytes()); // kernel_alignment
    put(0x234, &[1]); // relocatable_kernel
    put(0x235, &[21]); // min_alignment
    put(0x236, &xloadflags.to_le_bytes()); // xloadflags
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

/// An ELF-32 i386 kernel of the same two PT_LOADs.
pub fn vmlinux_i386() -> Vec<u8> {
    let text = vec![0xcc; 0x3000];
    let data = vec![0x5a; 0x1000];
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x01\x01\x01");
    file.resize(16, 0);
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let parts: [Vec<u8>; 5] = [
        halves(&[2, 3]),                   // ET_EXEC, EM_386
        words(&[1, 0x100_0000, 52, 0, 0]), // e_version, e_entry, e_phoff, no sections, e_flags
        halves(&[52, 32, 2, 0, 0, 0]),     // e_ehsize, e_phentsize, e_phnum
        // PT_LOAD: p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_flags, p_align
        words(&[1, 0x1000, 0xc100_0000, 0x100_0000, 0x3000, 0x20_0000, 5, 0x1000]),
        words(&[1, 0x4000, 0xc120_0000, 0x120_0000, 0x1000, 0x10_0000, 6, 0x1000]),
    ];
    file.extend(parts.concat());
    file.resize(0x1000, 0);
    [file, text, data].concat()
}

/// An ELF-64 ppc64 kernel of one PT_LOAD, relocatable, in either byte order.
#[cfg(feature = "every-arch")]
pub fn vmlinux_ppc64(is_little_endian: bool) -> Vec<u8> {
    let half = if is_little_endian { u16::to_le_bytes } else { u16::to_be_bytes };
    let word = if is_little_endian { u32::to_le_bytes } else { u32::to_be_bytes };
    let long = if is_little_endian { u64::to_le_bytes } else { u64::to_be_bytes };
    let halves = |halves: &[u16]| halves.iter().flat_map(|n| half(*n)).collect();
    let words = |words: &[u32]| words.iter().flat_map(|n| word(*n)).collect();
    let longs = |longs: &[u64]| longs.iter().flat_map(|n| long(*n)).collect();
    const START: u64 = 0xc000_0000_0000_0000;
    let parts: [Vec<u8>; 8] = [
        vec![0x7f, b'E', b'L', b'F', 2, if is_little_endian { 1 } else { 2 }, 1],
        vec![0; 9],
        halves(&[2, 21]), // ET_EXEC, EM_PPC64
        words(&[1]),
        longs(&[START, 64, 0]), // e_entry, e_phoff, no sections
        [words(&[0]), halves(&[64, 56, 1, 0, 0, 0])].concat(),
        words(&[1, 7]),                                            // PT_LOAD, p_flags
        longs(&[0x1_0000, START, 0, 0x2000, 0x80_0000, 0x1_0000]), // p_offset to p_align
    ];
    let mut file = parts.concat();
    file.resize(0x1_0000, 0);
    file.resize(0x1_2000, 0x60);
    // __run_at_load (kernel 6.1 arch/powerpc/kernel/head_64.S): "run0".
    file[0x1_005c..0x1_0060].copy_from_slice(&word(0x7275_6e30));
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

/// A PE32+ program with these sections: what a unified kernel image is.
pub fn uki(sections: &[(&[u8], &[u8])]) -> Vec<u8> {
    const OPTIONAL_HEADER: usize = 112; // without data directories
    let mut file = vec![0; 0x58 + OPTIONAL_HEADER + 40 * sections.len()];
    let mut contents = Vec::new();
    for (index, (name, content)) in sections.iter().enumerate() {
        let header = 0x58 + OPTIONAL_HEADER + 40 * index;
        let offset = len32(file.len() + contents.len());
        file[header..][..name.len()].copy_from_slice(name);
        file[header + 8..][..4].copy_from_slice(&len32(content.len())); // VirtualSize
        file[header + 16..][..4].copy_from_slice(&len32(content.len())); // SizeOfRawData
        file[header + 20..][..4].copy_from_slice(&offset); // PointerToRawData
        contents.extend_from_slice(content);
    }
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40; // e_lfanew
    file[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86"); // x86-64
    file[0x46] = u8::try_from(sections.len()).expect("few sections");
    file[0x54] = 112; // SizeOfOptionalHeader
    file[0x58..0x5a].copy_from_slice(&[0x0b, 0x02]); // PE32+
    [file, contents].concat()
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
