//! Is an address in the identity map that the dead kernel left us?
//!
//! The map covers RAM (kernel 6.1 arch/x86/kernel/machine_kexec_64.c, init_pgtable); memory of
//! devices is in it only by accident of 2 MiB and 1 GiB pages, so it is looked up before use.

use crate::cpu;

const PRESENT: u64 = 1;
const LARGE_PAGE: u64 = 1 << 7;

/// Whether reading `address` gives a byte and not a page fault.
pub fn is_mapped(address: u64) -> bool {
    let address_bits = cpu::page_address_bits();
    let mut table = cpu::page_table_root() & address_bits;
    for level in (0..cpu::page_table_levels()).rev() {
        let index = address >> (12 + 9 * level) & 511;
        let entry = (table + 8 * index) as *const u64;
        // SAFETY: `entry` is a page table's, reached from CR3; the kernel that made the tables
        // keeps them in RAM, which they map one to one, and nobody else writes them.
        let entry = unsafe { entry.read_volatile() };
        if entry & PRESENT == 0 {
            return false;
        }
        // Bit 7 of a lowest-level entry is PAT, but there the walk ends anyway.
        if entry & LARGE_PAGE != 0 {
            return true;
        }
        table = entry & address_bits;
    }
    true
}
