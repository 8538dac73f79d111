//! Unified kernel images: a PE program for EFI with a kernel, its initrd and its command line in
//! sections (UAPI Group Specifications, UKI). The loader takes them out and does without the program.

use core::ops::Range;

use object::read::pe::{PeFile32, PeFile64};

use super::slice;

/// Where in the file the parts are. Every range is inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki {
    /// `.linux`: the kernel's file.
    pub linux: Range<usize>,
    /// `.initrd`
    pub initrd: Option<Range<usize>>,
    /// `.cmdline`: text that may end with a newline and NULs.
    pub cmdline: Option<Range<usize>>,
    /// `.dtb`: a flattened device tree.
    pub dtb: Option<Range<usize>>,
    /// `.osrel`: the system's os-release(5).
    pub osrel: Option<Range<usize>>,
}

impl Uki {
    /// Finds the parts; `None` if `file` is no PE program with a `.linux` section.
    pub fn parse(file: &[u8]) -> Result<Option<Self>, UkiError> {
        let sections = PeFile64::parse(file).map(|pe| pe.section_table());
        let sections = sections.or_else(|_| PeFile32::parse(file).map(|pe| pe.section_table()));
        let Ok(sections) = sections else { return Ok(None) };
        let part = |name: &'static str| -> Result<Option<Range<usize>>, UkiError> {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(name.bytes()) {
                *to = from;
            }
            let Some(section) = sections.iter().find(|section| section.name == padded) else {
                return Ok(None);
            };
            let (offset, length) = section.pe_file_range();
            let content = slice(file, offset.into(), length.into());
            let start = usize::try_from(offset).ok();
            let range = content.zip(start).map(|(content, start)| start..start + content.len());
            range.map(Some).ok_or(UkiError::Truncated { name, offset, length, file: file.len() })
        };
        let Some(linux) = part(".linux")? else { return Ok(None) };
        Ok(Some(Self {
            linux,
            initrd: part(".initrd")?.filter(|range| !range.is_empty()),
            cmdline: part(".cmdline")?,
            dtb: part(".dtb")?,
            osrel: part(".osrel")?,
        }))
    }
}

/// The text of a `.cmdline` section: in one line, without what fills the section up.
pub fn text(section: &[u8]) -> Option<&str> {
    let text = section.split(|byte| *byte == 0).next()?;
    Some(core::str::from_utf8(text).ok()?.trim())
}

/// The system's name in a `.osrel` section.
pub fn pretty_name(osrel: &[u8]) -> Option<&str> {
    let name = text(osrel)?.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']))
}

/// Why a unified kernel image cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// A section ends behind the file's end.
    #[error(
        "the unified kernel image is truncated: its section {name} has {length:#x} bytes at \
         {offset:#x} but the file has only {file:#x}; copy or build it again"
    )]
    Truncated {
        /// The section's name.
        name: &'static str,
        /// Its file offset.
        offset: u32,
        /// Its length.
        length: u32,
        /// Length of the file.
        file: usize,
    },
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::image::testing::put;

    /// A PE32+ file with these sections, each filled up to 512 bytes.
    fn pe(sections: &[(&[u8], &[u8])]) -> Vec<u8> {
        const HEADERS: usize = 0x400;
        let mut file = alloc::vec![0; HEADERS];
        put(&mut file, 0, b"MZ");
        put(&mut file, 0x3c, &[0x40]); // e_lfanew
        put(&mut file, 0x40, b"PE\0\0\x64\x86"); // x86-64
        put(&mut file, 0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
        put(&mut file, 0x54, &[112, 0]); // SizeOfOptionalHeader, without data directories
        put(&mut file, 0x58, &[0x0b, 0x02]); // PE32+
        for (index, (name, content)) in sections.iter().enumerate() {
            let header = 0x58 + 112 + 40 * index;
            let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
            let offset = file.len();
            put(&mut file, header, name);
            put(&mut file, header + 8, &word(content.len())); // VirtualSize
            put(&mut file, header + 16, &word(content.len().next_multiple_of(512)));
            put(&mut file, header + 20, &word(offset)); // PointerToRawData
            file.extend_from_slice(content);
            file.resize(file.len().next_multiple_of(512), 0);
        }
        file
    }

    fn uki() -> Vec<u8> {
        pe(&[
            (b".text", b"the stub"),
            (b".osrel", b"NAME=x\nPRETTY_NAME=\"The System 1\"\n"),
            (b".cmdline", b"quiet splash\n\0"),
            (b".initrd", b"an archive"),
            (b".linux", b"a bzImage"),
        ])
    }

    #[test]
    fn the_parts_are_their_sections() {
        let file = uki();
        let found = Uki::parse(&file).unwrap().unwrap();
        assert_eq!(&file[found.linux], b"a bzImage");
        assert_eq!(&file[found.initrd.unwrap()], b"an archive");
        assert_eq!(text(&file[found.cmdline.unwrap()]), Some("quiet splash"));
        assert_eq!(pretty_name(&file[found.osrel.unwrap()]), Some("The System 1"));
        assert_eq!(found.dtb, None);
    }

    #[test]
    fn an_empty_initrd_is_none() {
        let found = Uki::parse(&pe(&[(b".initrd", b""), (b".linux", b"a bzImage")])).unwrap();
        assert_eq!(found.unwrap().initrd, None);
    }

    /// Firmware of 32 bits has one too.
    #[test]
    fn the_program_may_be_a_32_bit_one() {
        let mut file = uki();
        put(&mut file, 0x44, &[0x4c, 0x01]); // i386
        put(&mut file, 0x58, &[0x0b, 0x01]); // PE32
        let found = Uki::parse(&file).unwrap().unwrap();
        assert_eq!(&file[found.linux], b"a bzImage");
    }

    #[test]
    fn another_program_is_none() {
        assert_eq!(Uki::parse(&pe(&[(b".text", b"code")])), Ok(None));
        assert_eq!(Uki::parse(b"\x7fELF"), Ok(None));
    }

    #[test]
    fn a_section_must_be_in_the_file() {
        let file = uki();
        let error = Uki::parse(&file[..file.len() - 512]).unwrap_err();
        assert!(matches!(error, UkiError::Truncated { name: ".linux", .. }));
    }

    #[test]
    fn damage_gives_an_answer() {
        let file = uki();
        for length in 0..file.len() {
            let _ = Uki::parse(&file[..length]);
        }
        let mut damaged = file.clone();
        for offset in 0..0x400 {
            for flipped in [1, 0x10, 0x80, 0xff] {
                damaged[offset] = file[offset] ^ flipped;
                if let Ok(Some(found)) = Uki::parse(&damaged) {
                    assert!(damaged.get(found.linux).is_some());
                }
            }
            damaged[offset] = file[offset];
        }
    }
}
