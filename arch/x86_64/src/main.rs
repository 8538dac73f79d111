//! The image: entry, parameter block and panic handler around the library.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::mem::size_of;
use core::panic::PanicInfo;
use core::slice;

use purgatory::Next;
use purgatory::params::{MAGIC, Params, VERSION};
use purgatory_x86_64::machine::X86;
use purgatory_x86_64::{exceptions, handoff, reset};

global_asm!(
    include_str!("entry.S"),
    PARAMS_MAGIC = const MAGIC,
    PARAMS_VERSION = const VERSION,
    PARAMS_SIZE = const size_of::<Params>(),
);

/// Called once by `purgatory_entry`, on purgatory's own stack and GDT.
///
/// # Safety
///
/// `params` is the image's parameter block, and nothing writes it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn purgatory_start(params: *const Params) -> ! {
    exceptions::install();
    // SAFETY: the caller gives the block, `PARAMS_SIZE` initialized bytes that nothing writes;
    // every field is an integer, so that any content is a valid `Params`.
    let (block, bytes) =
        unsafe { (&*params, slice::from_raw_parts(params.cast::<u8>(), size_of::<Params>())) };
    match purgatory::run(&mut X86::new(), block, params.addr() as u64, bytes) {
        // SAFETY: `run` checked the block; its handoff is what the loader decided on.
        Next::Handoff(entry) => unsafe { handoff::enter(entry, &block.handoff) },
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
