//! Exceptions inside purgatory: report, then the policy. Nothing comes back from here, except
//! from a system reset (vectors.S).
//!
//! The vectors lie in memory of the dead kernel that the dump wants: what was there is kept, and
//! goes into the backup.

use core::arch::asm;

use purgatory::console::Console;
use purgatory::fault::{End, Faults};
use purgatory::params::{Backup, OnMismatch};

use crate::console::{CONSOLE, Devices};
use crate::{cache, cpu, memory, reset};

/// First vector (Power ISA 3.0B book III 6.5): system reset.
const VECTORS: usize = 0x100;
/// End of the architecture's vectors.
const VECTORS_END: usize = 0x1000;
/// The least distance between two vectors.
pub(crate) const VECTOR_STEP: usize = 0x20;
/// Address of the doubleword that tells `purgatory_vector_common` where to go.
pub(crate) const HANDLER: usize = VECTORS_END;
/// Address of `purgatory_vector_common`'s copy.
pub(crate) const COMMON: usize = HANDLER + 0x20;
/// Its part for the byte order that is not the image's.
pub(crate) const COMMON_OTHER_ORDER: usize = COMMON + 0x20;
/// Its size in bytes.
pub(crate) const COMMON_SIZE: usize = 0x40;
/// Start of the low memory that [`install`] writes.
pub(crate) const START: u64 = VECTORS as u64;
/// End of the low memory that [`install`] writes.
pub(crate) const END: u64 = (COMMON + COMMON_SIZE) as u64;

/// Vectors of exceptions that leave HSRR0 and not SRR0: hypervisor decrementer, data and
/// instruction storage, emulation assistance, maintenance, doorbell, virtualization, facility
/// unavailable.
const HYPERVISOR_VECTORS: [u64; 8] = [0x980, 0xe00, 0xe20, 0xe40, 0xe60, 0xe80, 0xea0, 0xf80];

unsafe extern "C" {
    static purgatory_vector: [u32; 3];
    static purgatory_reset_vector: [u32; 3];
    static purgatory_vector_common: [u32; COMMON_SIZE / 4];
    /// What was from [`START`] to [`END`].
    static purgatory_saved: u8;
    fn purgatory_exception_entry();
}

static FAULTS: Faults = Faults::none();

/// From now on an exception is reported and ends as [`set_policy`] says.
///
/// # Safety
///
/// Low memory is the dead kernel's: nothing in it runs any more. It is called once.
pub unsafe fn install() {
    let handler = purgatory_exception_entry as *const () as usize;
    // SAFETY: the caller gives up the memory, which is not at address 0; the statics are vectors.S's,
    // and nothing else writes the one that is written. The exception entry finds its address in
    // SPRG0, which is software's.
    unsafe {
        memory::copy((&raw const purgatory_saved).addr() as u64, START, END - START);
        for vector in (VECTORS..VECTORS_END).step_by(VECTOR_STEP) {
            let is_reset = vector == VECTORS;
            write(vector, if is_reset { &purgatory_reset_vector } else { &purgatory_vector });
        }
        (HANDLER as *mut usize).write_volatile(handler);
        write(COMMON, &purgatory_vector_common);
        asm!("mtsprg 0, {}", in(reg) handler, options(nomem, nostack, preserves_flags));
    }
    cache::make_executable(START, END - START);
}

/// Puts what [`install`] found in low memory into `copy`, a copy of memory that it is part of.
///
/// # Safety
///
/// The copy's destination is nobody else's.
pub unsafe fn restore_into(copy: &Backup) {
    let start = copy.source.max(START);
    let end = copy.source.saturating_add(copy.length).min(END);
    if start < end {
        let saved = (&raw const purgatory_saved).addr() as u64 + (start - START);
        // SAFETY: the caller's; the bytes are among those that were saved.
        unsafe { memory::copy(copy.destination + (start - copy.source), saved, end - start) };
    }
}

/// # Safety
///
/// `code` may be copied to `address`.
unsafe fn write(address: usize, code: &[u32]) {
    for (&word, index) in code.iter().zip(0..) {
        // SAFETY: the caller's; not null, aligned.
        unsafe { (address as *mut u32).wrapping_add(index).write_volatile(word) };
    }
}

/// What a fault leads to; until it is called, and if there is nothing to go on with, a reset.
pub fn set_policy(policy: OnMismatch) {
    FAULTS.set_policy(policy);
}

/// Says `line` if the console can still be used, and ends as the policy says.
pub fn fatal(line: &str) -> ! {
    end(|console| console.put_str(line))
}

/// Called by every vector's code.
#[unsafe(no_mangle)]
extern "C" fn purgatory_exception(vector: u64, srr0: u64, dar: u64) -> ! {
    let srr0 = if cpu::is_hypervisor() && HYPERVISOR_VECTORS.contains(&vector) {
        cpu::hsrr0()
    } else {
        srr0
    };
    end(|console| {
        for (name, value) in
            [("purgatory: EXCEPTION vector ", vector), (" srr0 ", srr0), (" dar ", dar)]
        {
            console.put_str(name);
            console.put_hex(value);
        }
    })
}

fn end(report: impl FnOnce(&mut Devices)) -> ! {
    match FAULTS.end(CONSOLE.try_lock(), report) {
        End::Reset => reset::reset(),
        End::Halt | End::GiveUp => reset::halt(),
    }
}
