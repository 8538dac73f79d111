//! The image: entry and panic handler around the library.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

use purgatory::params::Params;
use purgatory_x86::exceptions;
use purgatory_x86_64::Long;

global_asm!(include_str!("entry.S"), options(raw));

/// Called once by `purgatory_entry`, on purgatory's own stack and GDT.
///
/// # Safety
///
/// `params` is the image's parameter block, and nothing writes it any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn purgatory_start(params: *const Params) -> ! {
    // SAFETY: the caller's.
    unsafe { purgatory_x86::start::<Long>(params) }
}

/// What is not expected to happen still ends. The message is left out: to format it would take
/// more code than the rest of the image.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exceptions::fatal("purgatory: PANIC")
}
