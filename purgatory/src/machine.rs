//! What purgatory needs from the machine it runs on.

use crate::console::Console;
use crate::params::{self, Backup, HandoffMode, OnMismatch, Span};
use crate::sha256::{Block, State};

/// One machine: an architecture's crate implements it on the bare metal, the tests on a vector.
///
/// Addresses are physical. The implementor may rely on being asked only for memory that an
/// intact parameter block names.
pub trait Machine: Console {
    /// Where it reports when the parameters cannot be believed.
    const FALLBACK_CONSOLE: params::Console;

    /// The ways in which this machine can enter the next kernel.
    type Entry;

    /// The way that `mode` means, or `None` if it is another machine's.
    fn entry(&self, mode: HandoffMode) -> Option<Self::Entry>;

    /// Starts reporting where `console` says. Before it, bytes that are put go nowhere.
    fn open_console(&mut self, console: &params::Console);

    /// What a fault inside purgatory leads to from now on; until told, a reset.
    fn set_policy(&mut self, policy: OnMismatch);

    /// The bytes of `span`, or `None` for memory that no object can occupy: address 0, or a
    /// span that runs past the end of the address space.
    fn memory(&self, span: Span) -> Option<&[u8]>;

    /// The SHA-256 compression function over four independent streams of equally many blocks,
    /// by the fastest means the CPU has.
    fn compress_four(&self, states: &mut [State; 4], blocks: [&[Block]; 4]);

    /// Copies `backup.length` bytes from `backup.source` (0 is a valid address) to
    /// `backup.destination`; the two do not overlap.
    fn copy(&mut self, backup: &Backup);

    /// Clears `span`.
    fn zero(&mut self, span: &Span);
}
