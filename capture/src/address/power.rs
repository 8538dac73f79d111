//! Where a 64-bit POWER kernel has its memory: a linear mapping of all RAM, and the memory map
//! (vmemmap), which a kernel with the hash MMU keeps a list of and one with the radix MMU has in
//! its page tables (arch/powerpc/mm/init_64.c, Linux 4.19 to 6.12).

use std::ops::RangeInclusive;

use object::Endian;

use super::page_cache::PageCache;
use super::page_tables::PageTables;
use super::{Error, Extent, Physical, Virtual};
use crate::vmcore::{Headers, InfoError};

/// Start of the linear mapping of 64-bit POWER, on every kernel
/// (arch/powerpc/Kconfig, `PAGE_OFFSET`, Linux 6.1). The kernel itself runs there too.
const PAGE_OFFSET: Virtual = Virtual(0xc000_0000_0000_0000);
/// No machine has more memory than the linear mapping has room for at most
/// (arch/powerpc/include/asm/book3s/64/radix.h, `RADIX_KERN_VIRT_START`, Linux 6.1).
const LINEAR_LENGTH: u64 = 0x0008_0000_0000_0000;
/// More entries than the list of any machine has: with pages of 64 KiB that is 4 GiB of vmemmap,
/// with those of 16 MiB, which the hash MMU usually has, a thousand times as much.
const MAX_LIST: usize = 1 << 16;
/// Page sizes of the hash MMU, as powers of two: 4 KiB to 16 GiB.
const PAGE_SHIFTS: RangeInclusive<u64> = 12..=34;

/// The address space of a POWER kernel.
#[derive(Debug)]
pub(crate) struct PowerSpace {
    /// What the list of vmemmap has, by virtual address. Empty where there is none.
    vmemmap: Vec<Mapping>,
    /// Bytes of each mapping.
    mapping_length: u64,
    tables: Option<PageTables>,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    virt: u64,
    physical: u64,
}

impl PowerSpace {
    /// Never fails: without the rest there is still the linear mapping, and the log is there.
    pub(super) fn new(headers: &Headers, cache: &mut PageCache<'_>) -> Self {
        let (vmemmap, mapping_length) = read_vmemmap(headers, cache).unwrap_or_default();
        let tables = PageTables::radix(headers, PAGE_OFFSET).ok();
        Self { vmemmap, mapping_length, tables }
    }

    pub(super) fn translate(
        &self,
        cache: &mut PageCache<'_>,
        address: Virtual,
    ) -> Result<Extent, Error> {
        let before = self.vmemmap.partition_point(|mapping| mapping.virt <= address.0);
        if let Some(mapping) = before.checked_sub(1).and_then(|at| self.vmemmap.get(at)) {
            let skip = address.0 - mapping.virt;
            if skip < self.mapping_length {
                let start = Physical(mapping.physical.wrapping_add(skip));
                return Ok(Extent { start, length: self.mapping_length - skip });
            }
        }
        match (linear(address), &self.tables) {
            (Some(extent), _) => Ok(extent),
            (None, Some(tables)) => tables.translate(cache, address),
            (None, None) => Err(Error::Unmapped { address: address.0 }),
        }
    }
}

fn linear(address: Virtual) -> Option<Extent> {
    let offset = address.0.checked_sub(PAGE_OFFSET.0).filter(|offset| *offset < LINEAR_LENGTH)?;
    Some(Extent { start: Physical(offset), length: LINEAR_LENGTH - offset })
}

/// The mappings in `vmemmap_list`, sorted, and their length in bytes.
fn read_vmemmap(
    headers: &Headers,
    cache: &mut PageCache<'_>,
) -> Result<(Vec<Mapping>, u64), Error> {
    let info = &headers.info;
    let mut word = |address: u64, size: usize| -> Result<u64, Error> {
        let unmapped = Error::Unmapped { address };
        let at = linear(Virtual(address)).ok_or(unmapped)?.start;
        let mut bytes = [0; 8];
        let found = cache.read(at, size)?;
        let little = headers.endianness.is_little_endian();
        let to = if little { 0..found.len() } else { 8 - found.len()..8 };
        bytes[to].copy_from_slice(found);
        Ok(headers.endianness.read_u64(bytes))
    };
    let list = info.offset("vmemmap_backing.list")?;
    let phys = info.offset("vmemmap_backing.phys")?;
    let virt = info.offset("vmemmap_backing.virt_addr")?;
    let psize = word(info.symbol("mmu_vmemmap_psize")?.0, 4)?;
    let definition = info.size("mmu_psize_def")?.wrapping_mul(psize);
    let definition = info.symbol("mmu_psize_defs")?.0.wrapping_add(definition);
    let shift = word(definition.wrapping_add(info.offset("mmu_psize_def.shift")?), 4)?;
    if !PAGE_SHIFTS.contains(&shift) {
        let key = "mmu_psize_def.shift".to_owned();
        return Err(InfoError::OutOfRange { key, value: shift }.into());
    }
    let length = 1 << shift;
    let mut mappings = Vec::new();
    let mut entry = word(info.symbol("vmemmap_list")?.0, 8)?;
    while entry != 0 && mappings.len() < MAX_LIST {
        mappings.push(Mapping {
            virt: word(entry.wrapping_add(virt), 8)?,
            physical: word(entry.wrapping_add(phys), 8)?,
        });
        entry = word(entry.wrapping_add(list), 8)?;
    }
    mappings.sort_by_key(|mapping| mapping.virt);
    Ok((mappings, length))
}
