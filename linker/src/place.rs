//! An image at its physical address.

use alloc::{vec, vec::Vec};

use purgatory::params::Params;

use crate::encode::encode;
use crate::error::Error;
use crate::image::Image;
use crate::relocation::Format;

/// An image copied out and relocated for one physical address, its parameters not yet filled.
#[derive(Clone, Debug)]
pub struct Placed {
    base: u64,
    entry: u64,
    bytes: Vec<u8>,
    /// Offsets in `bytes` of what purgatory never writes.
    code: core::ops::Range<usize>,
    format: Format,
    params: usize,
}

impl Image<'_> {
    /// Copies the image out for physical address `base`, a multiple of [`Image::align`], and
    /// relocates it.
    pub fn place(&self, base: u64) -> Result<Placed, Error> {
        let limit = self.format.class.limit();
        let end = u128::from(base) + u128::from(self.size);
        if !base.is_multiple_of(self.align) || end > limit {
            return Err(Error::Base { base, size: self.size, align: self.align, limit });
        }
        let mut bytes = vec![0; self.offset(self.link_base + self.size)];
        for load in &self.loads {
            let start = self.offset(load.vaddr);
            // In bounds: `size` reaches to the end of the last load, and each has its data.
            bytes[start..start + load.data.len()].copy_from_slice(load.data);
        }
        for relocation in &self.relocations {
            relocation.apply(&mut bytes, self.format, self.link_base, base)?;
        }
        Ok(Placed {
            base,
            entry: base + self.entry,
            bytes,
            code: self.code(),
            format: self.format,
            params: self.params,
        })
    }

    /// The longest run of neighbouring PT_LOADs that are not writable.
    fn code(&self) -> core::ops::Range<usize> {
        self.loads
            .split(|load| load.writable)
            .filter_map(|run| Some((run.first()?, run.last()?)))
            .map(|(first, last)| {
                self.offset(first.vaddr)..self.offset(last.vaddr) + last.data.len()
            })
            .max_by_key(core::ops::Range::len)
            .unwrap_or_default()
    }

    /// Offset in the placed bytes of a linked address.
    #[expect(clippy::cast_possible_truncation, reason = "an image spans at most 32 MiB")]
    fn offset(&self, address: u64) -> usize {
        (address - self.link_base) as usize
    }
}

impl Placed {
    /// Physical address of its first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Physical address of its first instruction.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What purgatory never writes (code and read-only data, relocated): physical address and
    /// bytes. The parameter block is not in it.
    pub fn code(&self) -> (u64, &[u8]) {
        (self.base + self.code.start as u64, &self.bytes[self.code.clone()])
    }

    /// Puts `bytes` in place of the image's own at `offset` from its first byte. They must be in
    /// [`code`](Self::code), so that a digest of that covers them.
    pub fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let end = offset.saturating_add(bytes.len());
        if offset < self.code.start || end > self.code.end {
            return Err(Error::Overwrite { offset, length: bytes.len() });
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    /// Puts `params` in, with their digest, in the image's byte order. Returns the loaded image,
    /// [`Image::size`] bytes.
    pub fn fill(mut self, params: &Params) -> Vec<u8> {
        let block = encode(params, self.format.endian);
        self.bytes[self.params..self.params + block.len()].copy_from_slice(&block);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, CODE, Maker, RODATA, params_len};

    const BASE: u64 = 0x7654_3000;

    #[test]
    fn pointers_follow_the_image_in_every_class_and_byte_order() {
        let low = 0x1_0000;
        for (maker, base, expected) in [
            (testing::x86_64(), BASE, (BASE + 0x1004).to_le_bytes().to_vec()),
            (testing::i386(), low, 0x1_1004_u32.to_le_bytes().to_vec()),
            (testing::ppc64(), BASE, (BASE + 0x1004).to_be_bytes().to_vec()),
        ] {
            let file = maker.file();
            let placed = Image::parse(&file).unwrap().place(base).unwrap();
            assert_eq!((placed.base(), placed.entry()), (base, base + 0x1004));
            let (address, code) = placed.code();
            assert_eq!(address, base);
            assert_eq!(code[..8], RODATA[..8]);
            assert_eq!(code[8..8 + expected.len()], expected);
            assert_eq!(code[0x1000..], CODE);
            let bytes = placed.fill(&Params::EMPTY);
            let data_pointer = 0x2000 + usize::try_from(params_len()).unwrap();
            let width = expected.len();
            let pointed = match maker.endian {
                object::Endianness::Little => base.to_le_bytes()[..width].to_vec(),
                object::Endianness::Big => base.to_be_bytes()[8 - width..].to_vec(),
            };
            assert_eq!(bytes[data_pointer..data_pointer + width], pointed);
            assert!(bytes[data_pointer + 16..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn the_block_is_filled_in_place_and_nothing_else_changes() {
        let file = testing::ppc64().file();
        let placed = Image::parse(&file).unwrap().place(BASE).unwrap();
        let before = placed.bytes.clone();
        let params = Params { region_count: 5, ..Params::EMPTY };
        let block = encode(&params, object::Endianness::Big);
        let bytes = placed.fill(&params);
        assert_eq!(bytes[0x2000..0x2000 + block.len()], block);
        assert_eq!(bytes[..0x2000], before[..0x2000]);
        assert_eq!(bytes[0x2000 + block.len()..], before[0x2000 + block.len()..]);
    }

    #[test]
    fn an_address_that_does_not_suit_is_refused() {
        let file = testing::i386().file();
        let image = Image::parse(&file).unwrap();
        for base in [0x1_0800, 0xffff_e000, 1 << 32, u64::MAX] {
            let error = image.place(base).unwrap_err();
            assert!(matches!(error, Error::Base { .. }), "{base:#x}: {error}");
        }
        assert!(image.place(0xffff_d000).is_ok());
    }

    #[test]
    fn a_pointer_that_overflows_is_an_error() {
        let relocations = vec![(testing::RODATA_AT, i64::MIN)];
        let file = Maker { relocations, ..testing::x86_64() }.file();
        let error = Image::parse(&file).unwrap().place(BASE).unwrap_err();
        assert_eq!(error, Error::RelocationOverflow { offset: 0x1000, width: 8, base: BASE });
    }
}
