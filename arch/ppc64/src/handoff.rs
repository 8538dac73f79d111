//! The jump into the next kernel.

use purgatory::params::{Handoff, ppc64};

use crate::cache;

/// Offset of `boot_cpuid_phys` in a flattened device tree's header (Devicetree Specification 0.4,
/// 5.2).
const FDT_BOOT_CPUID_PHYS: u64 = 28;
/// Offset of `__run_at_load` in a kernel, and in this image (kernel 6.1
/// arch/powerpc/kernel/head_64.S).
const RUN_AT_LOAD: u64 = 0x5c;

unsafe extern "C" {
    static purgatory_run_at_load: u32;
    fn purgatory_handoff(handoff: *const Handoff) -> !;
}

/// How the next kernel is entered:
/// [`HandoffMode::Ppc64`](purgatory::params::HandoffMode::Ppc64).
#[derive(Clone, Copy)]
pub struct RealMode;

/// Enters the next kernel on the CPU with the physical number `cpu`.
///
/// # Safety
///
/// `handoff` is what the loader decided on: a device tree and a kernel are where its registers
/// say, and the kernel may do with the machine what it wants.
pub unsafe fn enter(handoff: &Handoff, cpu: u32) -> ! {
    let [tree, kernel] = [ppc64::R3, ppc64::R4].map(|register| handoff.registers[register]);
    // SAFETY: the caller vouches for the tree and the kernel; nobody reads them now. The image's
    // word is the loader's, and as the next kernel reads it: it is copied as it stands.
    unsafe {
        ((tree + FDT_BOOT_CPUID_PHYS) as *mut u32).write_volatile(cpu.to_be());
        let run_at_load = (&raw const purgatory_run_at_load).read_volatile();
        ((kernel + RUN_AT_LOAD) as *mut u32).write_volatile(run_at_load);
    }
    // Not instructions, but the kernel copies them before it has set its caches up.
    cache::make_executable(tree + FDT_BOOT_CPUID_PHYS, 4);
    cache::make_executable(kernel + RUN_AT_LOAD, 4);
    // SAFETY: the caller's.
    unsafe { purgatory_handoff(handoff) }
}
