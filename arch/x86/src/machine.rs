//! The PC as [`purgatory`] sees it.

use core::marker::PhantomData;
use core::slice;

use purgatory::Machine;
use purgatory::console::Console;
use purgatory::params::{self, Backup, ConsoleFlags, Handoff, HandoffMode, OnMismatch, Span};
use purgatory::sha256::{Block, State, compress};

use crate::console::{CONSOLE, Devices};
use crate::control::SseEnabled;
use crate::{cpu, exceptions, sha_ni, string};

/// The mode that the CPU is in: 32-bit without paging, or 64-bit on an identity map.
pub trait Mode {
    /// The ways in which the next kernel can be entered from it.
    type Entry;

    /// The way that `mode` means, or `None` if it is another machine's.
    fn entry(mode: HandoffMode) -> Option<Self::Entry>;

    /// Whether reading `address`, of a device that may be there, gives a byte and not a page
    /// fault.
    fn is_mapped(address: u64) -> bool;

    /// Enters the next kernel.
    ///
    /// # Safety
    ///
    /// `handoff` is what the loader decided on: a kernel is at its entry that may do with the
    /// machine what it wants. If it is entered in 32-bit mode, the image, and the stack that
    /// `handoff` names, lie below 4 GiB: the loader places purgatory there.
    unsafe fn enter(entry: Self::Entry, handoff: &Handoff) -> !;
}

/// The machine, its memory at physical addresses.
pub struct X86<M> {
    sha_ni: bool,
    mode: PhantomData<M>,
}

impl<M: Mode> X86<M> {
    /// Looks at what the CPU can do.
    #[expect(clippy::new_without_default, reason = "it asks the CPU; there is no plain value")]
    pub fn new() -> Self {
        Self { sha_ni: cpu::has_sha_ni(), mode: PhantomData }
    }
}

impl<M: Mode> Console for X86<M> {
    fn put_byte(&mut self, byte: u8) {
        CONSOLE.lock().put_byte(byte);
    }
}

impl<M: Mode> Machine for X86<M> {
    /// Where a PC usually looks.
    const FALLBACK_CONSOLE: params::Console = params::Console {
        flags: ConsoleFlags::SERIAL_PORT.union(ConsoleFlags::VGA_TEXT).bits(),
        serial_baud: 0,
        serial_base: 0x3f8,
        terminal: 0,
    };

    type Entry = M::Entry;

    fn entry(&self, mode: HandoffMode) -> Option<Self::Entry> {
        M::entry(mode)
    }

    fn open_console(&mut self, console: &params::Console) {
        *CONSOLE.lock() = Devices::open(console, M::is_mapped);
    }

    fn set_policy(&mut self, policy: OnMismatch) {
        exceptions::set_policy(policy);
    }

    fn memory(&self, span: Span) -> Option<&[u8]> {
        let address = usize::try_from(span.address).ok().filter(|&address| address != 0)?;
        let length =
            usize::try_from(span.length).ok().filter(|&length| length <= isize::MAX as usize)?;
        address.checked_add(length)?;
        // SAFETY: not null, and within the address space. The address comes from a parameter
        // block whose digest was checked: it is a kexec segment, RAM at its physical address,
        // which no Rust object of purgatory's is in but its own constants and code. Nothing
        // writes it while `self` is borrowed: `copy` and `zero` take `self` by mutable reference,
        // no other CPU runs. If the map lacks it after all, the page fault is reported.
        Some(unsafe { slice::from_raw_parts(address as *const u8, length) })
    }

    fn compress_four(&self, states: &mut [State; 4], blocks: [&[Block]; 4]) {
        if self.sha_ni {
            // SAFETY: purgatory runs at CPL 0 and is the only user of CR0 and CR4; the CPU has
            // the instructions, and SSE is on as long as `_sse` lives.
            unsafe {
                let _sse = SseEnabled::new();
                sha_ni::compress_four(states, blocks);
            }
        } else {
            for (state, blocks) in states.iter_mut().zip(blocks) {
                compress(state, blocks);
            }
        }
    }

    fn copy(&mut self, backup: &Backup) {
        let [source, destination, length] =
            [backup.source, backup.destination, backup.length].map(reachable);
        // SAFETY: both ranges come from a parameter block whose digest was checked. The source
        // is RAM; the destination is a kexec segment of that length, which nothing else uses.
        unsafe { string::copy(source, destination, length) };
    }

    fn zero(&mut self, span: &Span) {
        let [address, length] = [span.address, span.length].map(reachable);
        // SAFETY: the range comes from a parameter block whose digest was checked; it is part of
        // a kexec segment that holds nothing yet.
        unsafe { string::zero(address, length) };
    }
}

/// An address or length that the CPU's registers can hold. In 32-bit mode the loader cannot place
/// anything elsewhere; if it says so all the same, nothing may be written to the remainder.
fn reachable(value: u64) -> usize {
    usize::try_from(value)
        .unwrap_or_else(|_| exceptions::fatal("purgatory: an address is out of reach"))
}
