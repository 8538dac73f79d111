//! Control registers and descriptor tables.

use core::arch::asm;

/// CR0.MP: monitor coprocessor.
const CR0_MP: usize = 1 << 1;
/// CR0.EM: no FPU; SSE instructions fault.
const CR0_EM: usize = 1 << 2;
/// CR0.TS: task switched; SSE instructions fault.
const CR0_TS: usize = 1 << 3;
/// CR4.OSFXSR: SSE instructions do not fault.
const CR4_OSFXSR: usize = 1 << 9;
/// CR4.OSXMMEXCPT: SSE exceptions are #XM, not #UD.
const CR4_OSXMMEXCPT: usize = 1 << 10;

/// While it lives, SSE instructions work; then CR0 and CR4 are what they were, which is what
/// the next kernel expects to find.
pub struct SseEnabled {
    cr0: usize,
    cr4: usize,
}

impl SseEnabled {
    /// Switches SSE on.
    ///
    /// # Safety
    ///
    /// The CPU has SSE; the code runs at CPL 0, and nobody else depends on CR0 and CR4 meanwhile.
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
    base: usize,
}

impl DescriptorTable {
    /// A table without descriptors: as an IDT, every exception becomes a triple fault.
    pub const EMPTY: Self = Self { limit: 0, base: 0 };

    /// The table at `table`, which lives as long as the machine runs.
    pub fn new<T, const LENGTH: usize>(table: &'static [T; LENGTH]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the largest is an IDT: 4 KiB")]
        let limit = (size_of_val(table) - 1) as u16;
        Self { limit, base: (&raw const *table).addr() }
    }

    /// Makes it the interrupt descriptor table.
    pub fn load_idt(&self) {
        // SAFETY: reads the bytes of `self`; what the table leads to is its author's.
        unsafe { asm!("lidt [{}]", in(reg) self, options(readonly, nostack, preserves_flags)) };
    }
}

/// The address of the last page fault.
pub fn page_fault_address() -> usize {
    let cr2;
    // SAFETY: reading CR2 at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) };
    cr2
}

/// CR4.
///
/// # Safety
///
/// The code runs at CPL 0, and the CPU has CR4: every one with CPUID, and some before.
pub unsafe fn read_cr4() -> usize {
    let value;
    // SAFETY: reading CR4 has no effect; the caller runs at CPL 0.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

unsafe fn read_cr0() -> usize {
    let value;
    // SAFETY: reading CR0 has no effect; the caller runs at CPL 0.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

unsafe fn write_cr0(value: usize) {
    // SAFETY: the caller changes bits that it may change; not `nomem`, so that no SSE code
    // moves across it.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

unsafe fn write_cr4(value: usize) {
    // SAFETY: as for CR0.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}
