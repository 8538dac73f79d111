//! How each machine's guest sends to its console: by which instruction, from which registers.

mod com1;
mod hypervisor;
mod lpc;

use crate::api::{ByteOrder, InstructionCallback};

/// A machine, as far as its consoles differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// i386 and x86_64: the first serial port.
    Pc,
    /// ppc64: a terminal of the hypervisor (pseries) or a UART behind the LPC bus (powernv).
    /// Neither machine uses the other's instruction for anything else, so both are watched for.
    Power,
}

/// What to call before an instruction that may send.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Called each time before the instruction runs.
    pub callback: InstructionCallback,
    /// Passed to it: which registers the instruction names.
    pub operands: usize,
}

impl Machine {
    /// The machine that QEMU calls `target`.
    pub fn of(target: &str) -> Option<Self> {
        match target {
            "i386" | "x86_64" => Some(Self::Pc),
            "ppc64" => Some(Self::Power),
            _unknown => None,
        }
    }

    /// The hook for the instruction `code`; `None` if it cannot send.
    pub fn hook(self, code: &[u8]) -> Option<Hook> {
        match self {
            Self::Pc => com1::hook(code),
            Self::Power => {
                let code: [u8; 4] = code.try_into().ok()?;
                hypervisor::hook(code).or_else(|| lpc::hook(code))
            }
        }
    }
}

/// The first word that `wanted` knows of the two that a POWER instruction's bytes may mean, and
/// the byte order that it was found with: that of the guest at this place.
///
/// QEMU gives the registers' values in the same order (target/ppc/gdbstub.c).
fn power_word(code: [u8; 4], wanted: impl Fn(u32) -> bool) -> Option<(u32, ByteOrder)> {
    let big = (u32::from_be_bytes(code), ByteOrder::Big);
    let little = (u32::from_le_bytes(code), ByteOrder::Little);
    [big, little].into_iter().find(|(word, _)| wanted(*word))
}
