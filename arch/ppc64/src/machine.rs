//! The ppc64 machine as [`purgatory`] sees it.

use core::slice;

use purgatory::Machine;
use purgatory::console::Console;
use purgatory::params::{self, Backup, ConsoleFlags, HandoffMode, OnMismatch, Span};
use purgatory::sha256::{Block, State};

use crate::console::{CONSOLE, Devices};
use crate::cpu::{self, VectorsEnabled};
use crate::{exceptions, handoff, memory, sha256};

/// The machine, in real mode.
pub struct Ppc64 {
    vshasigma: bool,
}

impl Ppc64 {
    /// Looks at what the CPU can do.
    #[expect(clippy::new_without_default, reason = "it asks the CPU; there is no plain value")]
    pub fn new() -> Self {
        Self { vshasigma: cpu::has_vshasigma() }
    }
}

impl Console for Ppc64 {
    fn put_byte(&mut self, byte: u8) {
        CONSOLE.lock().put_byte(byte);
    }
}

impl Machine for Ppc64 {
    /// The first terminal of either kind; the machine has one kind.
    const FALLBACK_CONSOLE: params::Console = params::Console {
        flags: ConsoleFlags::HYPERVISOR.union(ConsoleFlags::OPAL).bits(),
        serial_baud: 0,
        serial_base: 0,
        terminal: 0,
    };

    type Entry = handoff::RealMode;

    fn entry(&self, mode: HandoffMode) -> Option<Self::Entry> {
        match mode {
            HandoffMode::Ppc64 => Some(handoff::RealMode),
            HandoffMode::X86Long | HandoffMode::X86Protected => None,
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
        // block whose digest was checked: it is a kexec segment, RAM in real mode, which no Rust
        // object of purgatory's is in but its own constants and code. Nothing writes it while
        // `self` is borrowed: `copy` and `zero` take `self` by mutable reference, the other CPUs
        // wait in low memory. If there is no RAM after all, the exception is reported.
        Some(unsafe { slice::from_raw_parts(span.address as *const u8, length) })
    }

    fn compress_four(&self, states: &mut [State; 4], blocks: [&[Block]; 4]) {
        if self.vshasigma {
            // SAFETY: purgatory runs in privileged state and is the only user of the MSR and the
            // vector registers; the CPU has the instructions, and they do not fault as long as
            // `_vectors` lives.
            unsafe {
                let _vectors = VectorsEnabled::new();
                sha256::compress_four(states, blocks);
            }
        } else {
            for (state, blocks) in states.iter_mut().zip(blocks) {
                sha256::compress_scalar(state, blocks);
            }
        }
    }

    fn copy(&mut self, backup: &Backup) {
        // SAFETY: both ranges come from a parameter block whose digest was checked. The source
        // is RAM; the destination is a kexec segment of that length, which nothing else uses.
        unsafe {
            memory::copy(backup.destination, backup.source, backup.length);
            exceptions::restore_into(backup);
        }
    }

    fn zero(&mut self, span: &Span) {
        // SAFETY: the range comes from a parameter block whose digest was checked; it is part of
        // a kexec segment that holds nothing yet.
        unsafe { memory::zero(span.address, span.length) }
    }
}
