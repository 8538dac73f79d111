//! The relocation table behind the ELF kernel in a bzImage's payload: which words of the kernel hold
//! one of its own addresses, and so change with the address that it runs at. A kernel's decompressor
//! works on it after unpacking; who enters the kernel without the decompressor must do it.
//!
//! Layout (kernel 6.1 arch/x86/boot/compressed/misc.c, `handle_relocations`, and
//! arch/x86/tools/relocs.c, `emit_relocs`): lists of 32-bit virtual addresses, each behind a zero
//! word, from the end of the ELF file to the end of the payload. A 32-bit kernel has one list; a
//! 64-bit kernel, whose addresses are sign-extended, has the 64-bit words first, the 32-bit words
//! last, and between them (before kernel 6.15) the 32-bit words that are relative to per-CPU memory.

use alloc::vec::Vec;

use super::vmlinux::Load;

/// Words that change with the kernel's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocations<'a> {
    lists: Vec<List<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List<'a> {
    change: Change,
    /// Virtual addresses, as linked: little-endian.
    addresses: &'a [[u8; 4]],
    /// Whether they are the low halves of 64-bit addresses.
    is_64: bool,
}

/// How a word follows the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// 32 bits, grow with the address.
    Add32,
    /// 32 bits, shrink: relative to something that stays.
    Subtract32,
    /// 64 bits, grow with the address.
    Add64,
}

impl<'a> Relocations<'a> {
    /// Parses the table of a kernel: all that follows the ELF file in the payload
    /// ([`Vmlinux::tail`](super::Vmlinux::tail)).
    pub fn parse(table: &'a [u8], is_64: bool) -> Result<Self, RelocationsError> {
        const ZERO: [u8; 4] = [0; 4];
        let malformed = RelocationsError::Malformed { length: table.len() };
        let (words, rest) = table.as_chunks();
        if !rest.is_empty() {
            return Err(malformed);
        }
        let Some((&ZERO, words)) = words.split_first() else { return Err(malformed) };
        let lists: Vec<&[[u8; 4]]> = words.split(|word| *word == ZERO).collect();
        let changes: &[Change] = match (is_64, lists.len()) {
            (false, 1) => &[Change::Add32],
            (true, 2) => &[Change::Add64, Change::Add32],
            (true, 3) => &[Change::Add64, Change::Subtract32, Change::Add32],
            (false | true, _) => return Err(malformed),
        };
        let lists = changes.iter().zip(lists);
        let lists = lists.map(|(&change, addresses)| List { change, addresses, is_64 });
        Ok(Self { lists: lists.collect() })
    }

    /// Changes a kernel's PT_LOADs for running `distance` (modulo 2^64) above the address that it
    /// is linked for. `loads` are sorted by address and begin with the kernel's text.
    pub fn apply(&self, loads: &mut [Load<'_>], distance: u64) -> Result<(), RelocationsError> {
        // The addresses are those of the text's mapping, also for parts that are linked elsewhere
        // (a 64-bit kernel's per-CPU data).
        let mapping = loads.first().map_or(0, |text| text.p_vaddr.wrapping_sub(text.p_paddr));
        #[expect(clippy::cast_possible_truncation, reason = "32-bit words are changed modulo 2^32")]
        let distance_32 = distance as u32;
        for list in &self.lists {
            match list.change {
                Change::Add32 => list.apply(loads, mapping, |word| {
                    u32::from_le_bytes(word).wrapping_add(distance_32).to_le_bytes()
                })?,
                Change::Subtract32 => list.apply(loads, mapping, |word| {
                    u32::from_le_bytes(word).wrapping_sub(distance_32).to_le_bytes()
                })?,
                Change::Add64 => list.apply(loads, mapping, |word| {
                    u64::from_le_bytes(word).wrapping_add(distance).to_le_bytes()
                })?,
            }
        }
        Ok(())
    }
}

impl List<'_> {
    /// Changes the words of `N` bytes. There are half a million in a kernel, sorted by address: the
    /// PT_LOAD of one is nearly always that of the next.
    fn apply<const N: usize>(
        &self,
        loads: &mut [Load<'_>],
        mapping: u64,
        change: impl Fn([u8; N]) -> [u8; N],
    ) -> Result<(), RelocationsError> {
        let mut part = Part { start: 0, bytes: &mut [] };
        for word in self.addresses {
            let address = u32::from_le_bytes(*word);
            let word = match part.word(address) {
                Some(word) => word,
                None => {
                    let address_64 = self.extended(address);
                    let outside = RelocationsError::Outside { address: address_64 };
                    part = Part::at(loads, mapping, address_64).ok_or(outside.clone())?;
                    part.word(address).ok_or(outside)?
                }
            };
            *word = change(*word);
        }
        Ok(())
    }

    fn extended(&self, address: u32) -> u64 {
        if self.is_64 { i64::from(address.cast_signed()).cast_unsigned() } else { address.into() }
    }
}

/// The loaded bytes of one PT_LOAD.
struct Part<'l> {
    /// Low half of their virtual address, as linked. Two addresses in one part differ in their low
    /// halves alone, and 32-bit programs count these fastest.
    start: u32,
    bytes: &'l mut [u8],
}

impl<'l> Part<'l> {
    /// The last one that does not start above `address`, if that is in it.
    fn at(loads: &'l mut [Load<'_>], mapping: u64, address: u64) -> Option<Self> {
        let physical = address.wrapping_sub(mapping);
        let holder = loads.partition_point(|load| load.p_paddr <= physical).checked_sub(1)?;
        let load = loads.get_mut(holder)?;
        if physical - load.p_paddr >= load.data.len() as u64 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let start = load.p_paddr.wrapping_add(mapping) as u32;
        Some(Self { start, bytes: load.data.to_mut() })
    }

    fn word<const N: usize>(&mut self, address: u32) -> Option<&mut [u8; N]> {
        let offset = usize::try_from(address.wrapping_sub(self.start)).ok()?;
        self.bytes.get_mut(offset..)?.first_chunk_mut()
    }
}

/// Why a kernel cannot be relocated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelocationsError {
    /// What follows the ELF file is no table.
    #[error(
        "the {length} bytes behind the ELF kernel in its payload are not the relocation table that \
         was expected there"
    )]
    Malformed {
        /// Size of what follows.
        length: usize,
    },
    /// The table names a word that is not in the kernel.
    #[error("a relocation at {address:#x} is outside of the kernel: the payload is damaged")]
    Outside {
        /// Virtual address, as linked.
        address: u64,
    },
}

#[cfg(test)]
mod tests {
    use alloc::borrow::Cow;
    use alloc::vec;

    use super::*;

    fn table(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn load(p_paddr: u64, p_vaddr: u64, data: &[u8]) -> Load<'_> {
        let p_memsz = data.len() as u64 + 0x100;
        Load { data: Cow::Borrowed(data), p_paddr, p_vaddr, p_memsz, p_align: 0x1000, flags: 7 }
    }

    #[test]
    fn a_32_bit_kernel_s_words_follow_it() {
        let text = table(&[0xc100_0008, 7, 0xc1ff_fffc]);
        let data = table(&[1, 0xc100_0000]);
        let mut loads =
            vec![load(0x100_0000, 0xc100_0000, &text), load(0x120_0000, 0xc120_0000, &data)];
        let table_bytes = table(&[0, 0xc100_0000, 0xc100_0008, 0xc120_0004]);
        let relocations = Relocations::parse(&table_bytes, false).unwrap();
        relocations.apply(&mut loads, 0x2e00_0000).unwrap();
        assert_eq!(*loads[0].data, table(&[0xef00_0008, 7, 0xefff_fffc]));
        assert_eq!(*loads[1].data, table(&[1, 0xef00_0000]));
        // A kernel may move down, too.
        relocations.apply(&mut loads, 0x2e00_0000_u64.wrapping_neg()).unwrap();
        assert_eq!((&*loads[0].data, &*loads[1].data), (&text[..], &data[..]));
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let (text, data) = (table(&[0xc100_0000]), table(&[1]));
        let mut loads =
            vec![load(0x100_0000, 0xc100_0000, &text), load(0x120_0000, 0xc120_0000, &data)];
        let table = table(&[0, 0xc100_0000]);
        let relocations = Relocations::parse(&table, false).unwrap();
        relocations.apply(&mut loads, 0x100_0000).unwrap();
        assert!(matches!(loads[0].data, Cow::Owned(_)));
        assert!(matches!(loads[1].data, Cow::Borrowed(_)));
    }

    #[test]
    fn a_64_bit_kernel_has_three_kinds_of_words() {
        let linked = 0xffff_ffff_8100_0000_u64;
        let text = [&linked.to_le_bytes()[..], &table(&[0x8100_1234, 0x10_0000])].concat();
        // Linked at 0, addressed like the rest.
        let per_cpu = linked.to_le_bytes();
        let loads = vec![load(0x100_0000, linked, &text), load(0x160_0000, 0, &per_cpu)];
        let all = table(&[0, 0x8100_0000, 0x8160_0000, 0, 0x8100_000c, 0, 0x8100_0008]);
        let mut moved = loads.clone();
        Relocations::parse(&all, true).unwrap().apply(&mut moved, 0x20_0000).unwrap();
        let expected = (linked + 0x20_0000).to_le_bytes();
        assert_eq!(moved[0].data[..8], expected);
        assert_eq!(moved[0].data[8..], table(&[0x8120_1234, 0xfff0_0000]));
        assert_eq!(*moved[1].data, expected);

        // Since kernel 6.15 without the words that shrink.
        let newer = table(&[0, 0x8100_0000, 0, 0x8100_0008]);
        let mut moved = loads.clone();
        Relocations::parse(&newer, true).unwrap().apply(&mut moved, 0x20_0000).unwrap();
        assert_eq!(moved[0].data[8..], table(&[0x8120_1234, 0x10_0000]));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (bytes, is_64) in [
            (vec![], false),
            (vec![0; 3], false),
            (table(&[1, 2]), false),
            (table(&[0, 1, 0, 2]), false),
            (table(&[0, 1]), true),
            (table(&[0, 1, 0, 2, 0, 3, 0, 4]), true),
        ] {
            let length = bytes.len();
            assert_eq!(
                Relocations::parse(&bytes, is_64),
                Err(RelocationsError::Malformed { length })
            );
        }
    }

    #[test]
    fn words_outside_of_the_kernel_are_refused() {
        let text = table(&[1, 2]);
        for address in [0xc0ff_fffe, 0xc100_0005, 0xc100_0008, 0xc100_0080, 1, u32::MAX] {
            let mut loads = vec![load(0x100_0000, 0xc100_0000, &text)];
            let table = table(&[0, address]);
            let relocations = Relocations::parse(&table, false).unwrap();
            let address = address.into();
            assert_eq!(
                relocations.apply(&mut loads, 0x1000),
                Err(RelocationsError::Outside { address })
            );
        }
    }
}
