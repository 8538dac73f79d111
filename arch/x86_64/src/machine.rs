//! The PC as [`purgatory`] sees it.

use core::arch::asm;
use core::slice;

use purgatory::Machine;
use purgatory::console::Console;
use purgatory::params::{self, Backup, ConsoleFlags, HandoffMode, OnMismatch, Span};
use purgatory::sha256::{Block, State};
use sha2::block_api::compress256;

use crate::console::{CONSOLE, Devices};
use crate::cpu::{self, SseEnabled};
use crate::{exceptions, handoff, sha_ni};

/// The machine, on the identity map.
pub struct X86 {
    sha_ni: bool,
}

impl X86 {
    /// Looks at what the CPU can do.
    #[expect(clippy::new_without_default, reason = "it asks the CPU; there is no plain value")]
    pub fn new() -> Self {
        Self { sha_ni: cpu::has_sha_ni() }
    }
}

impl Console for X86 {
    fn put_byte(&mut self, byte: u8) {
        CONSOLE.lock().put_byte(byte);
    }
}

impl Machine for X86 {
    /// Where a PC usually looks.
    const FALLBACK_CONSOLE: params::Console = params::Console {
        flags: ConsoleFlags::SERIAL_PORT.union(ConsoleFlags::VGA_TEXT).bits(),
        serial_baud: 0,
        serial_base: 0x3f8,
        terminal: 0,
    };

    type Entry = handoff::Entry;

    fn entry(&self, mode: HandoffMode) -> Option<Self::Entry> {
        match mode {
            HandoffMode::X86Long => Some(handoff::Entry::Long),
            HandoffMode::X86Protected => Some(handoff::Entry::Protected),
            HandoffMode::Ppc64 => None,
        }
    }

    fn open_console(&mut self, console: &params::Console) {
        *CONSOLE.lock() = Devices::open(console);
    }

    fn set_policy(&mut self, policy: OnMismatch) {
        exceptions::set_policy(policy);
    }

    fn memory(&self, span: Span) -> Option<&[u8]> {
        let length =
            usize::try_from(span.length).ok().filter(|&length| length <= isize::MAX as usize)?;
        span.address.checked_add(span.length)?;
        if span.address == 0 {
            return None;
        }
        // SAFETY: not null, and within the address space. The address comes from a parameter
        // block whose digest was checked: it is a kexec segment, RAM on the identity map, which
        // no Rust object of purgatory's is in but its own constants and code. Nothing writes
        // it while `self` is borrowed: `copy` and `zero` take `self` by mutable reference, no
        // other CPU runs. If the map lacks it after all, the page fault is reported.
        Some(unsafe { slice::from_raw_parts(span.address as *const u8, length) })
    }

    fn compress_pair(&self, states: &mut [State; 2], blocks: [&[Block]; 2]) {
        if self.sha_ni {
            // SAFETY: purgatory runs at CPL 0 and is the only user of CR0 and CR4; the CPU has
            // the instructions, and SSE is on as long as `_sse` lives.
            unsafe {
                let _sse = SseEnabled::new();
                sha_ni::compress_pair(states, blocks);
            }
        } else {
            compress256(&mut states[0], blocks[0]);
            compress256(&mut states[1], blocks[1]);
        }
    }

    // By string instructions: address 0, which is the usual source, is no valid pointer in Rust.
    // Eight bytes at a time: an emulator, or a CPU without fast strings, counts each step.
    fn copy(&mut self, backup: &Backup) {
        // SAFETY: both ranges come from a parameter block whose digest was checked. The source
        // is RAM; the destination is a kexec segment of that length, which nothing else uses.
        unsafe {
            asm!("rep movsq",
                "mov rcx, {rest}",
                "rep movsb",
                rest = in(reg) backup.length % 8,
                inout("rcx") backup.length / 8 => _,
                inout("rsi") backup.source => _,
                inout("rdi") backup.destination => _,
                options(nostack, preserves_flags));
        }
    }

    fn zero(&mut self, span: &Span) {
        // SAFETY: the range comes from a parameter block whose digest was checked; it is part of
        // a kexec segment that holds nothing yet.
        unsafe {
            asm!("rep stosq",
                "mov rcx, {rest}",
                "rep stosb",
                rest = in(reg) span.length % 8,
                inout("rcx") span.length / 8 => _,
                inout("rdi") span.address => _,
                in("rax") 0_u64,
                options(nostack, preserves_flags));
        }
    }
}
