//! The audit of build.rs against the images it let through, and against spoilt copies of them.

#[path = "../build/audit/mod.rs"]
mod audit;

use audit::AuditError;
use object::elf;
use object::read::elf::ElfFile64;
use object::read::{File as AnyFile, SegmentFlags};
use object::{Endianness, Object, ObjectSection, ObjectSegment};
use purgatorio::facts::Arch;
use purgatorio::purgatory_image;

type File<'a> = ElfFile64<'a, Endianness>;

/// The largest in build.rs, which checks each image by its own.
const SIZE_CEILING: u64 = 36 * 1024;

fn audit(image: &[u8]) -> Result<(), AuditError> {
    audit::audit(image, SIZE_CEILING)
}

/// The images that this build embeds.
fn embedded() -> impl Iterator<Item = (Arch, &'static [u8])> {
    Arch::ALL.into_iter().filter_map(|arch| Some((arch, purgatory_image(arch)?)))
}

fn x86_64() -> Vec<u8> {
    purgatory_image(Arch::X86_64).unwrap().to_vec()
}

/// File offset of a section's content.
fn section(image: &[u8], name: &str) -> usize {
    let file = AnyFile::parse(image).unwrap();
    let (offset, _) = file.section_by_name(name).unwrap().file_range().unwrap();
    usize::try_from(offset).unwrap()
}

/// File offset of a program header.
fn program_header(image: &[u8], index: usize) -> usize {
    let file = File::parse(image).unwrap();
    let start = file.elf_header().e_phoff.get(file.endian());
    usize::try_from(start).unwrap() + 56 * index
}

#[test]
fn every_embedded_image_passes() {
    for (arch, image) in embedded() {
        audit(image).unwrap_or_else(|error| panic!("{arch}: {error}"));
    }
}

#[test]
fn every_embedded_image_has_code_apart_from_data_and_no_symbols() {
    for (arch, image) in embedded() {
        let file = AnyFile::parse(image).unwrap();
        let flags: Vec<_> = file
            .segments()
            .map(|load| match load.flags() {
                SegmentFlags::Elf { p_flags, .. } => p_flags,
                other => panic!("{arch}: {other:?}"),
            })
            .collect();
        assert_eq!(flags, [elf::PF_R | elf::PF_X, elf::PF_R | elf::PF_W], "{arch}");
        assert_eq!(file.symbols().count(), 0, "{arch}");
    }
}

#[test]
fn vector_code_is_allowed_in_the_digest_only() {
    const ADDPS: [u8; 3] = [0x0f, 0x58, 0xc0];
    let mut in_digest = x86_64();
    let digest = section(&in_digest, ".digest");
    in_digest[digest..digest + 3].copy_from_slice(&ADDPS);
    audit(&in_digest).unwrap();

    for name in [".text", ".code32"] {
        let mut elsewhere = x86_64();
        let start = section(&elsewhere, name);
        elsewhere[start..start + 3].copy_from_slice(&ADDPS);
        let error = audit(&elsewhere).unwrap_err();
        assert!(matches!(&error, AuditError::Instruction { offset: 0, .. }), "{error}");
        assert!(error.to_string().contains("Addps needs SSE"), "{error}");
    }
}

#[test]
fn the_x87_and_avx_are_refused_everywhere() {
    const FLD1: [u8; 2] = [0xd9, 0xe8];
    const VZEROUPPER: [u8; 3] = [0xc5, 0xf8, 0x77];
    for name in [".text", ".digest"] {
        for code in [&FLD1[..], &VZEROUPPER] {
            let mut image = x86_64();
            let start = section(&image, name);
            image[start..start + code.len()].copy_from_slice(code);
            assert!(matches!(audit(&image), Err(AuditError::Instruction { .. })), "{name}");
        }
    }
}

#[cfg(feature = "every-arch")]
#[test]
fn what_came_after_the_pentium_is_refused_in_32_bit_code() {
    const CMOVZ: [u8; 3] = [0x0f, 0x44, 0xc0];
    const LONG_NOP: [u8; 3] = [0x0f, 0x1f, 0x00];
    for code in [CMOVZ, LONG_NOP] {
        let mut image = purgatory_image(Arch::I386).unwrap().to_vec();
        let start = section(&image, ".text");
        image[start..start + code.len()].copy_from_slice(&code);
        assert!(matches!(audit(&image), Err(AuditError::Instruction { offset: 0, .. })));
    }
}

#[cfg(feature = "every-arch")]
mod ppc64 {
    use super::*;

    /// An instruction of the code, an offset in it that is behind the entry's fixed words.
    const SOMEWHERE: usize = 0x110;
    const XXLXOR: u32 = 0xf000_04d0;
    const VXOR: u32 = 0x1000_04c4;
    const LVX: u32 = 0x7c00_00ce;
    const STXVW4X: u32 = 0x7c00_0718;
    const FADD: u32 = 0xfc00_002a;
    const LFDX: u32 = 0x7c00_04ae;
    const LFD: u32 = 0xc800_0000;
    /// A prefix of Power ISA 3.1.
    const PREFIX: u32 = 0x0600_0000;

    /// Both images with `words` somewhere in their code.
    fn spoilt(name: &str, words: &[u32]) -> [Vec<u8>; 2] {
        [Arch::Ppc64le, Arch::Ppc64].map(|arch| {
            let mut image = purgatory_image(arch).unwrap().to_vec();
            let start = section(&image, name) + SOMEWHERE;
            for (bytes, word) in image[start..].as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = match arch {
                    Arch::Ppc64le => word.to_le_bytes(),
                    _ => word.to_be_bytes(),
                };
            }
            image
        })
    }

    #[test]
    fn vectors_are_allowed_in_the_digest_only() {
        for word in [XXLXOR, VXOR, LVX, STXVW4X] {
            for image in spoilt(".digest", &[word]) {
                audit(&image).unwrap();
            }
            for image in spoilt(".text", &[word]) {
                let error = audit(&image).unwrap_err();
                assert!(error.to_string().contains("needs vector registers"), "{error}");
            }
        }
    }

    #[test]
    fn floating_point_and_newer_code_are_refused_everywhere() {
        for word in [FADD, LFDX, LFD, PREFIX] {
            for image in [".digest", ".text"].into_iter().flat_map(|name| spoilt(name, &[word])) {
                let error = audit(&image).unwrap_err();
                let offset = SOMEWHERE as u64;
                assert!(
                    matches!(&error, AuditError::Instruction { offset: at, .. } if *at == offset),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn code_for_the_other_byte_order_is_decoded_in_it() {
        const TRAP_NEVER: u32 = 0x0800_0048;
        const BRANCH_OVER_ONE: u32 = 0x4800_0008;
        /// A vector instruction if it were not swapped.
        const LI: u32 = 0x3800_0010;
        for (word, is_fine) in [(VXOR, false), (LI, true)] {
            let words = [TRAP_NEVER, BRANCH_OVER_ONE, word.swap_bytes()];
            for image in spoilt(".text", &words) {
                assert_eq!(audit(&image).is_ok(), is_fine, "{word:#x}");
            }
        }
    }
}

#[test]
fn an_image_for_one_address_is_refused() {
    let mut image = x86_64();
    // e_type of the ELF header.
    image[16..18].copy_from_slice(&elf::ET_EXEC.0.to_le_bytes());
    assert!(matches!(audit(&image), Err(AuditError::NotPie)));
}

#[test]
fn other_relocations_are_refused() {
    let mut image = x86_64();
    // r_info is the second field of an Elf64_Rela; its low half is the type.
    let r_info = section(&image, ".rela.dyn") + 8;
    image[r_info] = 6; // R_X86_64_GLOB_DAT
    assert!(matches!(audit(&image), Err(AuditError::Relocation(_))));
}

#[test]
fn an_image_above_the_ceiling_is_refused() {
    let mut image = x86_64();
    // p_memsz of the second PT_LOAD.
    let p_memsz = program_header(&image, 1) + 40;
    image[p_memsz..p_memsz + 8].copy_from_slice(&0x10_0000_u64.to_le_bytes());
    assert!(matches!(audit(&image), Err(AuditError::TooLarge { .. })));
}

#[test]
fn a_segment_off_a_page_is_refused() {
    let mut image = x86_64();
    let p_vaddr = program_header(&image, 1) + 16;
    image[p_vaddr] = 1;
    assert!(matches!(audit(&image), Err(AuditError::Unaligned(0x3001..))));
}

#[test]
fn what_is_no_image_is_refused() {
    assert!(matches!(audit(b""), Err(AuditError::Parse(_))));
    assert!(matches!(audit(&x86_64()[..100]), Err(AuditError::Parse(_))));
}
