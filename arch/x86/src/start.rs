//! From the entry's last instruction to the end, whichever it is.

use core::arch::global_asm;
use core::mem::size_of;
use core::slice;

use purgatory::Next;
use purgatory::params::{MAGIC, Params, VERSION};

use crate::machine::X86;
use crate::{Mode, exceptions, reset};

global_asm!(
    include_str!("../../params.S"),
    PARAMS_MAGIC = const MAGIC,
    PARAMS_VERSION = const VERSION,
    PARAMS_SIZE = const size_of::<Params>(),
);

/// Does everything. Called once by an image's entry, on purgatory's own stack and GDT.
///
/// # Safety
///
/// `params` is the image's parameter block, and nothing writes it any more.
pub unsafe fn start<M: Mode>(params: *const Params) -> ! {
    exceptions::install();
    // SAFETY: the caller gives the block, `PARAMS_SIZE` initialized bytes that nothing writes;
    // every field is an integer, so that any content is a valid `Params`.
    let (block, bytes) =
        unsafe { (&*params, slice::from_raw_parts(params.cast::<u8>(), size_of::<Params>())) };
    match purgatory::run(&mut X86::<M>::new(), block, params.addr() as u64, bytes) {
        // SAFETY: `run` checked the block; its handoff is what the loader decided on.
        Next::Handoff(entry) => unsafe { M::enter(entry, &block.handoff) },
        Next::Reset => reset::reset(),
        Next::Halt => reset::halt(),
    }
}
