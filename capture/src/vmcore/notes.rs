//! ELF notes (gabi, "Note Section"): in cores of every class they are made of 32-bit numbers, names
//! and descriptors, all padded to four bytes.

use object::{Endian, Endianness};

use super::VmcoreInfo;

/// The name of the note that the kernel's own information is in.
const VMCOREINFO: &[u8] = b"VMCOREINFO";

/// A note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Who gives `n_type` its meaning.
    pub name: &'a [u8],
    /// What it is.
    pub n_type: u32,
    /// Where its content is in all the notes.
    pub offset: usize,
    /// Its content.
    pub desc: &'a [u8],
}

impl Note<'_> {
    /// Whether it is the kernel's own information.
    pub fn is_vmcoreinfo(&self) -> bool {
        self.name == VMCOREINFO
    }
}

/// What VMCOREINFO says; nothing if there is none.
pub(super) fn vmcoreinfo(bytes: &[u8], endianness: Endianness) -> VmcoreInfo {
    let note = notes(bytes, endianness).find(Note::is_vmcoreinfo);
    note.map(|note| VmcoreInfo::parse(note.desc)).unwrap_or_default()
}

/// The notes in `bytes`, up to the first that is damaged.
pub(super) fn notes(bytes: &[u8], endianness: Endianness) -> impl Iterator<Item = Note<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let number = |at: usize| {
            let number = bytes.get(at..)?.first_chunk::<4>()?;
            Some(endianness.read_u32(*number))
        };
        let size = |at| usize::try_from(number(at)?).ok();
        let (name_size, desc_size, n_type) = (size(at)?, size(at + 4)?, number(at + 8)?);
        let name = bytes.get(at + 12..)?.get(..name_size)?;
        let offset = at.checked_add(12)?.checked_add(name_size)?.checked_next_multiple_of(4)?;
        let desc = bytes.get(offset..)?.get(..desc_size)?;
        at = offset.checked_add(desc_size)?.checked_next_multiple_of(4)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        Some(Note { name, n_type, offset, desc })
    })
}
