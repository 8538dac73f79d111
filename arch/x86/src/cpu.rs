//! What the CPU can do.

#[cfg(target_arch = "x86")]
use core::arch::x86::{__cpuid, __cpuid_count};
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Whether the CPU has what [`sha_ni`](crate::sha_ni) uses: SHA, SSSE3 and SSE4.1.
#[allow(unused_unsafe, reason = "CPUID is a safe function from Rust 1.93 on")]
pub fn has_sha_ni() -> bool {
    const SSSE3: u32 = 1 << 9; // leaf 1, ecx
    const SSE4_1: u32 = 1 << 19; // leaf 1, ecx
    const SHA: u32 = 1 << 29; // leaf 7, ebx

    if !has_cpuid() {
        return false;
    }
    // SAFETY: the CPU has CPUID, and with it leaf 0; the others are asked if they are there.
    unsafe {
        let last_leaf = __cpuid(0).eax;
        last_leaf >= 7
            && __cpuid(1).ecx & (SSSE3 | SSE4_1) == SSSE3 | SSE4_1
            && __cpuid_count(7, 0).ebx & SHA != 0
    }
}

/// Every 64-bit CPU has CPUID.
#[cfg(target_arch = "x86_64")]
const fn has_cpuid() -> bool {
    true
}

/// A CPU has CPUID if EFLAGS.ID can be changed (Intel SDM volume 1, 3.4.3.3): not every 486 has.
#[cfg(target_arch = "x86")]
fn has_cpuid() -> bool {
    const ID: u32 = 1 << 21;

    let (found, changed): (u32, u32);
    // SAFETY: EFLAGS ends as it was found; ID in between changes nothing.
    unsafe {
        core::arch::asm!(
            "pushfd",
            "mov {found}, [esp]",
            "xor dword ptr [esp], {ID}",
            "popfd",
            "pushfd",
            "pop {changed}",
            "push {found}",
            "popfd",
            found = out(reg) found,
            changed = out(reg) changed,
            ID = const ID,
        );
    }
    (found ^ changed) & ID != 0
}
