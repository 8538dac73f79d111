//! The relocations that a static PIE has: "this word holds an address of the image".

use object::Endianness;
use object::elf::{
    EM_386, EM_AARCH64, EM_PPC64, EM_RISCV, EM_X86_64, Machine, R_386_RELATIVE, R_AARCH64_RELATIVE,
    R_PPC64_RELATIVE, R_RISCV_RELATIVE, R_X86_64_RELATIVE, RelocationType,
};

use crate::Error;

/// How wide an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ELF-32.
    Bits32,
    /// ELF-64.
    Bits64,
}

impl Class {
    /// Bytes of an address.
    pub const fn width(self) -> u8 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// First address that cannot be expressed.
    pub const fn limit(self) -> u128 {
        match self {
            Self::Bits32 => 1 << 32,
            Self::Bits64 => 1 << 64,
        }
    }
}

/// A machine's RELATIVE relocation.
#[derive(Clone, Copy, Debug)]
pub struct Relative {
    machine: Machine,
    class: Class,
    /// Its number among the machine's relocation types.
    pub r_type: RelocationType,
}

/// One line for each machine. Each psABI defines RELATIVE as "address of the image as loaded
/// plus addend", stored in a word of the class's width.
const RELATIVE: [Relative; 5] = [
    Relative { machine: EM_386, class: Class::Bits32, r_type: R_386_RELATIVE },
    Relative { machine: EM_X86_64, class: Class::Bits64, r_type: R_X86_64_RELATIVE },
    Relative { machine: EM_PPC64, class: Class::Bits64, r_type: R_PPC64_RELATIVE },
    Relative { machine: EM_AARCH64, class: Class::Bits64, r_type: R_AARCH64_RELATIVE },
    Relative { machine: EM_RISCV, class: Class::Bits64, r_type: R_RISCV_RELATIVE },
];

impl Relative {
    /// The RELATIVE relocation of a machine, if it is known.
    pub fn of(machine: Machine, class: Class) -> Option<Self> {
        RELATIVE.into_iter().find(|known| known.machine == machine && known.class == class)
    }
}

/// One RELATIVE relocation, of a word inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Offset of the word from the image's start.
    pub offset: usize,
    /// The address as linked, for RELA; REL keeps it in the word itself.
    pub addend: Option<i64>,
}

/// The number format of an image.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Width of an address.
    pub class: Class,
    /// Byte order.
    pub endian: Endianness,
}

impl Relocation {
    /// Moves the address that the word holds by `slide`, the distance between where the image
    /// is linked (`link_base`) and `base`. Writes nothing if the result does not fit.
    pub fn apply(
        self,
        image: &mut [u8],
        format: Format,
        link_base: u64,
        base: u64,
    ) -> Result<(), Error> {
        let width = format.class.width();
        let link_offset = link_base.saturating_add(self.offset as u64);
        let end = self.offset.saturating_add(width.into());
        let word = image
            .get_mut(self.offset..end)
            .ok_or(Error::RelocationOutside { offset: link_offset, width })?;
        let linked = match self.addend {
            Some(addend) => i128::from(addend),
            None => i128::from(read(word, format.endian)),
        };
        // The sum of three 64-bit numbers cannot overflow 128 bits.
        let moved = linked + i128::from(base) - i128::from(link_base);
        let overflow = Error::RelocationOverflow { offset: link_offset, width, base };
        match format.class {
            Class::Bits32 => {
                let moved = u32::try_from(moved).map_err(|_| overflow)?;
                word.copy_from_slice(&match format.endian {
                    Endianness::Little => moved.to_le_bytes(),
                    Endianness::Big => moved.to_be_bytes(),
                });
            }
            Class::Bits64 => {
                let moved = u64::try_from(moved).map_err(|_| overflow)?;
                word.copy_from_slice(&match format.endian {
                    Endianness::Little => moved.to_le_bytes(),
                    Endianness::Big => moved.to_be_bytes(),
                });
            }
        }
        Ok(())
    }
}

/// An unsigned number of up to eight bytes.
fn read(word: &[u8], endian: Endianness) -> u64 {
    let join = |number, byte: &u8| number << 8 | u64::from(*byte);
    match endian {
        Endianness::Little => word.iter().rev().fold(0, join),
        Endianness::Big => word.iter().fold(0, join),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LE64: Format = Format { class: Class::Bits64, endian: Endianness::Little };
    const BE64: Format = Format { class: Class::Bits64, endian: Endianness::Big };
    const LE32: Format = Format { class: Class::Bits32, endian: Endianness::Little };

    #[test]
    fn rela_stores_the_addend_plus_the_slide_in_the_images_byte_order() {
        let mut image = [0xee; 24];
        let relocation = Relocation { offset: 8, addend: Some(0x1010) };
        relocation.apply(&mut image, LE64, 0x1000, 0x20_0000).unwrap();
        assert_eq!(image[8..16], 0x20_0010_u64.to_le_bytes());
        relocation.apply(&mut image, BE64, 0x1000, 0x20_0000).unwrap();
        assert_eq!(image[8..16], 0x20_0010_u64.to_be_bytes());
        assert_eq!((image[7], image[16]), (0xee, 0xee));
    }

    #[test]
    fn rel_takes_the_addend_from_the_word() {
        let mut image = [0; 8];
        image[4..].copy_from_slice(&0x44_u32.to_le_bytes());
        Relocation { offset: 4, addend: None }.apply(&mut image, LE32, 0, 0x9000).unwrap();
        assert_eq!(image[4..], 0x9044_u32.to_le_bytes());
    }

    #[test]
    fn a_pointer_that_does_not_fit_is_refused_and_nothing_is_written() {
        let mut image = [0x55; 8];
        let before = image;
        let high = Relocation { offset: 0, addend: Some(0x10) };
        let error = high.apply(&mut image, LE32, 0, 0xffff_fff0).unwrap_err();
        assert_eq!(error, Error::RelocationOverflow { offset: 0, width: 4, base: 0xffff_fff0 });
        let negative = Relocation { offset: 0, addend: Some(-1) };
        negative.apply(&mut image, LE64, 0, 0).unwrap_err();
        let past_the_top = Relocation { offset: 0, addend: Some(i64::MAX) };
        past_the_top.apply(&mut image, LE64, 0, u64::MAX).unwrap_err();
        assert_eq!(image, before);
    }

    #[test]
    fn a_word_that_crosses_the_end_is_refused() {
        let error = Relocation { offset: 1, addend: Some(0) }.apply(&mut [0; 8], LE64, 0, 0);
        assert_eq!(error, Err(Error::RelocationOutside { offset: 1, width: 8 }));
    }
}
