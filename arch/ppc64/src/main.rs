//! The image: entry, parameter block and panic handler around the library.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::mem::size_of;
use core::panic::PanicInfo;
use core::slice;

use purgatory::Next;
use purgatory::params::{MAGIC, Params, VERSION};
use purgatory_ppc64::machine::Ppc64;
use purgatory_ppc64::{exceptions, firmware, handoff, reset};

global_asm!(
    include_str!("entry.S"),
    include_str!("../../params.S"),
    PARAMS_MAGIC = const MAGIC,
    PARAMS_VERSION = const VERSION,
    PARAMS_SIZE = const size_of::<Params>(),
);
// What core and the compiler expect of a C library, which these targets would have.
global_asm!(include_str!("mem.S"), options(raw));

/// Called once by `purgatory_entry`, on purgatory's own stack and TOC. `cpu` is the physical
/// number of the CPU.
///
/// # Safety
///
/// `params` is the image's parameter block, and nothing writes it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn purgatory_start(params: *const Params, cpu: u32) -> ! {
    // SAFETY: the caller gives the block, `PARAMS_SIZE` initialized bytes that nothing writes;
    // every field is an integer, so that any content is a valid `Params`.
    let (block, bytes) =
        unsafe { (&*params, slice::from_raw_parts(params.cast::<u8>(), size_of::<Params>())) };
    // SAFETY: the CPU is in real mode, so that the dead kernel's code at the vectors does not run;
    // the slaves wait below them.
    unsafe { exceptions::install() };
    firmware::remember(&block.firmware);
    match purgatory::run(&mut Ppc64::new(), block, params.addr() as u64, bytes) {
        // SAFETY: `run` checked the block; its handoff is what the loader decided on.
        Next::Handoff(handoff::RealMode) => unsafe { handoff::enter(&block.handoff, cpu) },
        Next::Reset => reset::reset(),
        Next::Halt => reset::halt(),
    }
}

/// What is not expected to happen still ends. The message is left out: to format it would take
/// more code than the rest of the image.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exceptions::fatal("purgatory: PANIC")
}
