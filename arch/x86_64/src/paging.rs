//! Is an address in the identity map that the dead kernel left us?
//!
//! The map covers RAM (kernel 6.1 arch/x86/kernel/machine_kexec_64.c, init_pgtable); memory of
//! devices is in it only by accident of 2 MiB and 1 GiB pages, so it is looked up before use.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use purgatory_x86::control;

const PRESENT: u64 = 1;
const LARGE_PAGE: u64 = 1 << 7;

/// Whether reading `address` gives a byte and not a page fault.
pub fn is_mapped(address: u64) -> bool {
    let address_bits = page_address_bits();
    let mut table = page_table_root() & address_bits;
    for level in (0..page_table_levels()).rev() {
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

/// CR3: where the top page table is, and flags.
fn page_table_root() -> u64 {
    let cr3;
    // SAFETY: reading CR3 at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    cr3
}

/// The bits of CR3 and of a page table's entry that are a physical address: 12 to 51, without
/// the one that AMD memory encryption takes for itself (the C-bit; AMD64 Architecture
/// Programmer's Manual volume 3, CPUID Fn8000_001F).
#[allow(unused_unsafe, reason = "CPUID is a safe function from Rust 1.93 on")]
fn page_address_bits() -> u64 {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    const LAST_EXTENDED_LEAF: u32 = 0x8000_0000;
    const MEMORY_ENCRYPTION: u32 = 0x8000_001f;
    const C_BIT: u32 = 0x3f; // ebx

    // SAFETY: every 64-bit CPU has CPUID with the first leaf; the other is asked if it is there.
    unsafe {
        if __cpuid(LAST_EXTENDED_LEAF).eax < MEMORY_ENCRYPTION {
            return ADDRESS;
        }
        ADDRESS & !(1 << (__cpuid(MEMORY_ENCRYPTION).ebx & C_BIT))
    }
}

/// Levels of page tables in use: 4 or 5.
fn page_table_levels() -> u32 {
    /// Five levels of page tables.
    const CR4_LA57: usize = 1 << 12;

    // SAFETY: purgatory runs at CPL 0, and a 64-bit CPU has CR4.
    if unsafe { control::read_cr4() } & CR4_LA57 == 0 { 4 } else { 5 }
}
