//! What the CPU is, and its special registers.

use core::arch::asm;

/// MSR: hypervisor state (Power ISA 3.0B book III 3.2.1).
const MSR_HV: u64 = 1 << 60;
/// MSR: vector instructions do not fault.
const MSR_VEC: u64 = 1 << 25;
/// MSR: VSX instructions do not fault.
const MSR_VSX: u64 = 1 << 23;

/// Whether purgatory runs on the bare metal (powernv) and not in a partition (pseries).
pub fn is_hypervisor() -> bool {
    read_msr() & MSR_HV != 0
}

/// Whether the CPU has what [`compress_four`](crate::sha256::compress_four) uses: Power ISA 2.07
/// with its vector category.
///
/// The processor version register says it on the CPU that purgatory really runs on. Compatibility
/// modes (PCR) take instructions away from user programs only. A CPU that is not listed is taken
/// for one without them.
pub fn has_vshasigma() -> bool {
    // Upper halves of the PVR (kernel 6.12 arch/powerpc/include/asm/reg.h): POWER8E, POWER8NVL,
    // POWER8, POWER9, POWER10, POWER11.
    const VERSIONS: [u64; 6] = [0x4b, 0x4c, 0x4d, 0x4e, 0x80, 0x82];
    let pvr: u64;
    // SAFETY: reading the register has no effect; purgatory runs in privileged state.
    unsafe { asm!("mfspr {}, 287", out(reg) pvr, options(nomem, nostack, preserves_flags)) };
    VERSIONS.contains(&(pvr >> 16))
}

/// What the last hypervisor exception interrupted.
pub fn hsrr0() -> u64 {
    let value;
    // SAFETY: as for the PVR; the only caller has asked for MSR[HV].
    unsafe { asm!("mfspr {}, 314", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Lets the other threads of the core have its resources (Power ISA 3.0B book II 3.2).
pub fn very_low_priority() {
    // SAFETY: a form of "or" that changes no register.
    unsafe { asm!("or 31, 31, 31", options(nomem, nostack, preserves_flags)) };
}

/// While it lives, vector and VSX instructions work; then the MSR is what it was, which is what
/// the next kernel expects to find.
pub struct VectorsEnabled {
    msr: u64,
}

impl VectorsEnabled {
    /// Switches vector and VSX instructions on.
    ///
    /// # Safety
    ///
    /// The code runs in privileged state, and nobody else depends on the MSR or the vector
    /// registers meanwhile.
    pub unsafe fn new() -> Self {
        let found = Self { msr: read_msr() };
        // SAFETY: the caller's.
        unsafe { write_msr(found.msr | MSR_VEC | MSR_VSX) };
        found
    }
}

impl Drop for VectorsEnabled {
    fn drop(&mut self) {
        // SAFETY: `new`'s caller vouched for the state; the value is the one that was found.
        unsafe { write_msr(self.msr) };
    }
}

fn read_msr() -> u64 {
    let msr;
    // SAFETY: reading the register has no effect; purgatory runs in privileged state.
    unsafe { asm!("mfmsr {}", out(reg) msr, options(nomem, nostack, preserves_flags)) };
    msr
}

/// # Safety
///
/// `msr` is [`read_msr`]'s with other facilities enabled; vector registers hold nothing.
unsafe fn write_msr(msr: u64) {
    // SAFETY: the caller's. It is a barrier for the compiler too.
    unsafe { asm!("mtmsrd {}", "isync", in(reg) msr, options(nostack, preserves_flags)) };
}
