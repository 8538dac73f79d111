//! Page tables of x86, which all have the same form: each level's entry is found by a part of the
//! address, and has the next table's or the page's physical address (Intel SDM volume 3A,
//! chapter 4).

use super::{Error, Physical, Virtual};
use crate::vmcore::{Headers, Vmcore};

/// Start of the mapping of an x86_64 kernel's image (Documentation/x86/x86_64/mm.rst, Linux 6.1).
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Start of an i386 kernel's linear mapping if it was not configured otherwise
/// (arch/x86/Kconfig, `PAGE_OFFSET`, Linux 6.1).
const I386_PAGE_OFFSET: u64 = 0xc000_0000;
/// Bits of an entry.
const PRESENT: u64 = 1 << 0;
pub(super) const PAGE_SIZE_BIT: u64 = 1 << 7;
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;

/// The dead kernel's own page tables.
#[derive(Debug)]
pub(super) struct PageTables {
    /// Physical address of the top level's table.
    top: u64,
    /// Address bits that each level is indexed by, the top level first.
    levels: &'static [u32],
    /// Size of an entry in bytes: 4 or 8.
    entry_size: u64,
    /// Bits of an entry that are a physical address.
    address_bits: u64,
}

impl PageTables {
    /// Those of x86_64, with 4 or 5 levels.
    pub(super) fn x86_64(headers: &Headers) -> Result<Self, Error> {
        let info = &headers.info;
        // Before 4.13 the table had another name.
        let name = if info.has_symbol("init_top_pgt") { "init_top_pgt" } else { "init_level4_pgt" };
        let table = info.symbol(name)?.0;
        let unmapped = Error::Unmapped { address: table };
        let in_kernel = table.checked_sub(START_KERNEL_MAP).ok_or(unmapped)?;
        // Kernels that do not export these have neither.
        let five_levels = info.number("pgtable_l5_enabled").unwrap_or(0) != 0;
        let sme_mask = info.number("sme_mask").unwrap_or(0).cast_unsigned();
        Ok(Self {
            top: in_kernel.wrapping_add_signed(info.number("phys_base")?),
            levels: if five_levels { &[9, 9, 9, 9, 9] } else { &[9, 9, 9, 9] },
            entry_size: 8,
            address_bits: ADDRESS_BITS & !sme_mask,
        })
    }

    /// Those of 32-bit x86, with PAE or without.
    pub(super) fn i386(headers: &Headers) -> Result<Self, Error> {
        let info = &headers.info;
        let table = info.symbol("swapper_pg_dir")?.0;
        let unmapped = Error::Unmapped { address: table };
        let top = table.checked_sub(i386_page_offset(headers)).ok_or(unmapped)?;
        if info.text("CONFIG_X86_PAE") == Some("y") {
            let levels = &[2, 9, 9];
            return Ok(Self { top, levels, entry_size: 8, address_bits: ADDRESS_BITS });
        }
        Ok(Self { top, levels: &[10, 10], entry_size: 4, address_bits: 0xffff_f000 })
    }

    pub(super) fn translate(&self, core: &Vmcore, address: Virtual) -> Result<Physical, Error> {
        let mut table = self.top;
        let mut shift = 12 + self.levels.iter().sum::<u32>();
        for (depth, bits) in self.levels.iter().enumerate() {
            shift -= bits;
            let index = (address.0 >> shift) & ((1 << bits) - 1);
            let entry = self.entry(core, table.wrapping_add(index * self.entry_size))?;
            if entry & PRESENT == 0 {
                return Err(Error::Unmapped { address: address.0 });
            }
            // The bit is reserved where no page is that large.
            let below = self.levels.len() - 1 - depth;
            if below == 0 || (below <= 2 && entry & PAGE_SIZE_BIT != 0) {
                let within = (1 << shift) - 1;
                let page = entry & self.address_bits & !within;
                return Ok(Physical(page | (address.0 & within)));
            }
            table = entry & self.address_bits;
        }
        Err(Error::Unmapped { address: address.0 })
    }

    /// The entry at physical address `at`; x86 is little-endian.
    fn entry(&self, core: &Vmcore, at: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        let size = if self.entry_size == 8 { 8 } else { 4 };
        core.read_physical(Physical(at), &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// As the loader found it in the running kernel: the segments of low memory have it.
fn i386_page_offset(headers: &Headers) -> u64 {
    // What has no virtual address has 0 there or all ones.
    let known =
        |address: u64| address != 0 && address != u64::MAX && address != u64::from(u32::MAX);
    let mut loads = headers.loads.iter().filter(|load| known(load.p_vaddr));
    let offset = loads.find_map(|load| load.p_vaddr.checked_sub(load.p_paddr));
    offset.unwrap_or(I386_PAGE_OFFSET)
}
