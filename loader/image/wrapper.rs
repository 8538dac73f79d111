//! zImage of powerpc: an ELF program that unpacks the kernel in one of its sections (kernel 6.1
//! arch/powerpc/boot/wrapper). The loader takes the kernel out and does without the program.

use core::ops::Range;

use goblin::container::Ctx;
use goblin::elf::{Elf, SectionHeader};

use super::slice;

/// The section with the kernel, which is compressed or not.
const SECTION: &[u8] = b".kernel:vmlinux.strip\0";

/// Where in the file the wrapped kernel is; `None` if the file is no wrapper.
pub fn payload(file: &[u8]) -> Option<Range<usize>> {
    let header = Elf::parse_header(file).ok()?;
    let ctx = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let size = SectionHeader::size(ctx);
    if usize::from(header.e_shentsize) != size {
        return None;
    }
    slice(file, header.e_shoff, u64::from(header.e_shnum) * size as u64)?;
    let table = usize::try_from(header.e_shoff).ok()?;
    let sections = SectionHeader::parse(file, table, header.e_shnum.into(), ctx).ok()?;
    let names = sections.get(usize::from(header.e_shstrndx))?;
    let names = slice(file, names.sh_offset, names.sh_size)?;
    let named = |section: &&SectionHeader| {
        names.get(section.sh_name..).is_some_and(|name| name.starts_with(SECTION))
    };
    let section = sections.iter().find(named)?;
    // Within the file, so its offset and end are numbers of this host.
    let content = slice(file, section.sh_offset, section.sh_size)?;
    let start = usize::try_from(section.sh_offset).ok()?;
    Some(start..start + content.len())
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::image::testing::{self, Layout, Segment, put};

    /// A big-endian ELF-32 file with the section, as a pseries zImage is.
    fn zimage(payload: &[u8]) -> Vec<u8> {
        let layout = Layout { is_64: false, is_little_endian: false };
        let mut file =
            testing::vmlinux(layout, &[Segment { p_paddr: 0x40_0000, data: b"x", p_memsz: 1 }]);
        let payload_at = file.len();
        file.extend_from_slice(payload);
        let names_at = file.len();
        file.extend_from_slice(b"\0");
        file.extend_from_slice(SECTION);
        let table_at = file.len();
        let word = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
        for (name, offset, size) in
            [(0, 0, 0), (1, payload_at, payload.len()), (0, names_at, SECTION.len() + 1)]
        {
            let words = [name, 1, 0, 0, offset, size, 0, 0, 1, 0];
            file.extend(words.iter().flat_map(|number| word(*number)));
        }
        put(&mut file, 32, &word(table_at));
        put(&mut file, 46, &[0, 40, 0, 3, 0, 2]);
        file
    }

    #[test]
    fn the_kernel_is_in_its_section() {
        let file = zimage(b"\x1f\x8b\x08 and so on");
        assert_eq!(&file[payload(&file).unwrap()], b"\x1f\x8b\x08 and so on");
    }

    #[test]
    fn a_bare_kernel_is_no_wrapper() {
        let data = Segment { p_paddr: 0, data: b"x", p_memsz: 1 };
        assert_eq!(payload(&testing::vmlinux(Layout::X86_64, &[data])), None);
        assert_eq!(payload(b"MZ"), None);
    }

    #[test]
    fn damage_gives_an_answer() {
        let file = zimage(&vec![7; 40]);
        for length in 0..file.len() {
            let _ = payload(&file[..length]);
        }
        let mut damaged = file.clone();
        for offset in 0..file.len() {
            for flipped in [1, 0x10, 0x80, 0xff] {
                damaged[offset] = file[offset] ^ flipped;
                if let Some(range) = payload(&damaged) {
                    assert!(range.end <= file.len());
                }
            }
            damaged[offset] = file[offset];
        }
    }
}
