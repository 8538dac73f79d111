//! What the CPU can do, its control registers and descriptor tables.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// CR0.MP: monitor coprocessor.
const CR0_MP: u64 = 1 << 1;
/// CR0.EM: no FPU; SSE instructions fault.
const CR0_EM: u64 = 1 << 2;
/// CR0.TS: task switched; SSE instructions fault.
const CR0_TS: u64 = 1 << 3;
/// CR4.OSFXSR: SSE instructions do not fault.
const CR4_OSFXSR: u64 = 1 << 9;
/// CR4.OSXMMEXCPT: SSE exceptions are #XM, not #UD.
const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// CR4.LA57: five levels of page tables.
const CR4_LA57: u64 = 1 << 12;

/// Whether the CPU has what [`sha_ni`](crate::sha_ni) uses: SHA, SSSE3 and SSE4.1.
#[allow(unused_unsafe, reason = "CPUID is a safe function from Rust 1.93 on")]
pub fn has_sha_ni() -> bool {
    const SSSE3: u32 = 1 << 9; // leaf 1, ecx
    const SSE4_1: u32 = 1 << 19; // leaf 1, ecx
    const SHA: u32 = 1 << 29; // leaf 7, ebx

    // SAFETY: every 64-bit CPU has CPUID with leaves 0 and 1; leaf 7 is asked if it is there.
    unsafe {
        let last_leaf = __cpuid(0).eax;
        last_leaf >= 7
            && __cpuid(1).ecx & (SSSE3 | SSE4_1) == SSSE3 | SSE4_1
            && __cpuid_count(7, 0).ebx & SHA != 0
    }
}

/// While it lives, SSE instructions work; then CR0 and CR4 are what they were, which is what
/// the next kernel expects to find.
pub struct SseEnabled {
    cr0: u64,
    cr4: u64,
}

impl SseEnabled {
    /// Switches SSE on.
    ///
    /// # Safety
    ///
    /// The code runs at CPL 0, and nobody else depends on CR0 and CR4 meanwhile.
    pub unsafe fn new() -> Self {
        // SAFETY: the caller's.
        unsafe {
            let found = Self { cr0: read_cr0(), cr4: read_cr4() };
            write_cr0(found.cr0 & !(CR0_EM | CR0_TS) | CR0_MP);
            write_cr4(found.cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT);
            found
        }
    }
}

impl Drop for SseEnabled {
    fn drop(&mut self) {
        // SAFETY: `new`'s caller vouched for CPL 0; the values are those that were found.
        unsafe {
            write_cr4(self.cr4);
            write_cr0(self.cr0);
        }
    }
}

/// What LGDT and LIDT read.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
pub struct DescriptorTable {
    /// Size of the table in bytes, less one.
    limit: u16,
    /// Its address.
    base: u64,
}

impl DescriptorTable {
    /// A table without descriptors: as an IDT, every exception becomes a triple fault.
    pub const EMPTY: Self = Self { limit: 0, base: 0 };

    /// The table at `table`, which lives as long as the machine runs.
    pub fn new<T, const LENGTH: usize>(table: &'static [T; LENGTH]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the largest is an IDT: 4 KiB")]
        let limit = (size_of_val(table) - 1) as u16;
        Self { limit, base: (&raw const *table).addr() as u64 }
    }

    /// Makes it the interrupt descriptor table.
    pub fn load_idt(&self) {
        // SAFETY: reads ten bytes at `self`; what the table leads to is its author's.
        unsafe { asm!("lidt [{}]", in(reg) self, options(readonly, nostack, preserves_flags)) };
    }
}

/// CR3: where the top page table is, and flags.
pub fn page_table_root() -> u64 {
    let cr3;
    // SAFETY: reading CR3 at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    cr3
}

/// The bits of CR3 and of a page table's entry that are a physical address: 12 to 51, without
/// the one that AMD memory encryption takes for itself (the C-bit; AMD64 Architecture
/// Programmer's Manual volume 3, CPUID Fn8000_001F).
#[allow(unused_unsafe, reason = "CPUID is a safe function from Rust 1.93 on")]
pub fn page_address_bits() -> u64 {
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
pub fn page_table_levels() -> u32 {
    // SAFETY: reading CR4 at CPL 0 has no effect.
    if unsafe { read_cr4() } & CR4_LA57 == 0 { 4 } else { 5 }
}

/// The address of the last page fault.
pub fn page_fault_address() -> u64 {
    let cr2;
    // SAFETY: reading CR2 at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) };
    cr2
}

unsafe fn read_cr0() -> u64 {
    let value;
    // SAFETY: reading CR0 has no effect; the caller runs at CPL 0.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

unsafe fn read_cr4() -> u64 {
    let value;
    // SAFETY: reading CR4 has no effect; the caller runs at CPL 0.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

unsafe fn write_cr0(value: u64) {
    // SAFETY: the caller changes bits that it may change; not `nomem`, so that no SSE code
    // moves across it.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

unsafe fn write_cr4(value: u64) {
    // SAFETY: as for CR0.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}
