//! Page tables as x86 and POWER's radix MMU walk them: each level's entry is found by a part of
//! the address, and has the next table's or the page's physical address (Intel SDM volume 3A,
//! chapter 4; Power ISA 3.0B, book III, 5.7.10).

use super::page_cache::PageCache;
use super::{Error, Extent, Physical, Virtual};
use crate::vmcore::{Headers, InfoError, Load};

/// Start of the mapping of an x86_64 kernel's image (Documentation/x86/x86_64/mm.rst, Linux 6.1).
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Start of an i386 kernel's linear mapping if it was not configured otherwise
/// (arch/x86/Kconfig, `PAGE_OFFSET`, Linux 6.1).
const I386_PAGE_OFFSET: u64 = 0xc000_0000;

/// The bits of an entry that say something.
#[derive(Debug)]
struct EntryBits {
    /// One of them is set in a valid entry.
    present: u64,
    /// Set where the entry of an upper level is a page.
    page: u64,
    /// The physical address of a page.
    page_address: u64,
    /// The physical address of a table.
    table_address: u64,
}

const X86_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
pub(super) const X86_PAGE_SIZE_BIT: u64 = 1 << 7;

impl EntryBits {
    const fn x86(address: u64) -> Self {
        Self { present: 1, page: X86_PAGE_SIZE_BIT, page_address: address, table_address: address }
    }

    /// arch/powerpc/include/asm/book3s/64/pgtable.h (`_PAGE_PRESENT`, `_PAGE_PTE`,
    /// `PTE_RPN_MASK`, `PMD_MASKED_BITS`), Linux 4.19 to 6.12.
    const RADIX: Self = Self {
        present: 1 << 63,
        page: 1 << 62,
        page_address: 0x001f_ffff_ffff_f000,
        table_address: 0x3fff_ffff_ffff_ff00,
    };
}

/// The dead kernel's own page tables.
#[derive(Debug)]
pub(crate) struct PageTables {
    /// Physical address of the top level's table.
    top: u64,
    /// Address bits that each level is indexed by, the top level first.
    levels: &'static [u32],
    /// Address bits within the smallest page.
    page_shift: u32,
    /// Size of an entry in bytes: 4 or 8.
    entry_size: usize,
    /// POWER's are big-endian, whatever the kernel is.
    big_endian: bool,
    bits: EntryBits,
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
            page_shift: 12,
            entry_size: 8,
            big_endian: false,
            bits: EntryBits::x86(X86_ADDRESS & !sme_mask),
        })
    }

    /// Those of 32-bit x86, with PAE or without.
    pub(super) fn i386(headers: &Headers) -> Result<Self, Error> {
        let info = &headers.info;
        let table = info.symbol("swapper_pg_dir")?.0;
        let unmapped = Error::Unmapped { address: table };
        let top = table.checked_sub(i386_page_offset(headers)).ok_or(unmapped)?;
        let (levels, entry_size, address): (&[u32], _, _) =
            if info.text("CONFIG_X86_PAE") == Some("y") {
                (&[2, 9, 9], 8, X86_ADDRESS)
            } else {
                (&[10, 10], 4, 0xffff_f000)
            };
        let bits = EntryBits::x86(address);
        Ok(Self { top, levels, page_shift: 12, entry_size, big_endian: false, bits })
    }

    /// Those of a 64-bit POWER kernel that uses the radix MMU, whose linear mapping starts at
    /// `page_offset` (arch/powerpc/include/asm/book3s/64/radix-4k.h, radix-64k.h, Linux 4.19 to
    /// 6.12).
    pub(super) fn radix(headers: &Headers, page_offset: Virtual) -> Result<Self, InfoError> {
        let table = headers.info.symbol("swapper_pg_dir")?;
        let (levels, page_shift): (&[u32], _) = match headers.info.page_size()? {
            0x1_0000 => (&[13, 9, 9, 5], 16),
            _ => (&[13, 9, 9, 9], 12),
        };
        Ok(Self {
            top: table.0.wrapping_sub(page_offset.0),
            levels,
            page_shift,
            entry_size: 8,
            big_endian: true,
            bits: EntryBits::RADIX,
        })
    }

    /// The memory at `address` up to the end of its page.
    pub(super) fn translate(
        &self,
        cache: &mut PageCache<'_>,
        address: Virtual,
    ) -> Result<Extent, Error> {
        let mut table = self.top;
        let mut shift = self.page_shift + self.levels.iter().sum::<u32>();
        for (depth, bits) in self.levels.iter().enumerate() {
            shift -= bits;
            let index = (address.0 >> shift) & ((1 << bits) - 1);
            let entry = self.entry(cache, table.wrapping_add(index * self.entry_size as u64))?;
            if entry & self.bits.present == 0 {
                break;
            }
            // The bit is reserved where no page is that large.
            let below = self.levels.len() - 1 - depth;
            if below == 0 || (below <= 2 && entry & self.bits.page != 0) {
                let within = (1 << shift) - 1;
                let page = entry & self.bits.page_address & !within;
                let in_page = address.0 & within;
                let length = within - in_page + 1;
                return Ok(Extent { start: Physical(page | in_page), length });
            }
            table = entry & self.bits.table_address;
        }
        Err(Error::Unmapped { address: address.0 })
    }

    /// The entry at physical address `at`.
    fn entry(&self, cache: &mut PageCache<'_>, at: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        let found = cache.read(Physical(at), self.entry_size)?;
        if self.big_endian {
            bytes[8 - found.len()..].copy_from_slice(found);
            return Ok(u64::from_be_bytes(bytes));
        }
        bytes[..found.len()].copy_from_slice(found);
        Ok(u64::from_le_bytes(bytes))
    }
}

/// As the loader found it in the running kernel: the segments of low memory have it.
fn i386_page_offset(headers: &Headers) -> u64 {
    let offset = |load: &Load| load.virtual_start()?.0.checked_sub(load.p_paddr);
    headers.loads.iter().find_map(offset).unwrap_or(I386_PAGE_OFFSET)
}
