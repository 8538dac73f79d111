//! The story in order: entered, parameters, verified, backup, cleared, handoff.

use crate::Machine;
use crate::params::{Flags, HandoffMode, OnMismatch, Params, Region};
use crate::verify;

/// What the machine must do when [`run`] is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<E> {
    /// Enter the next kernel as [`Params::handoff`] says.
    Handoff(E),
    /// Reset the machine.
    Reset,
    /// Stop.
    Halt,
}

/// Does everything between entry and handoff. `params` is the parameter block, `address` where
/// it lies and `bytes` its bytes.
pub fn run<M: Machine>(
    machine: &mut M,
    params: &Params,
    address: u64,
    bytes: &[u8],
) -> Next<M::Entry> {
    let intact = verify::params_intact(params, bytes);
    machine.open_console(if intact { &params.console } else { &M::FALLBACK_CONSOLE });
    machine.put_str("purgatory: entered");
    machine.end_line();
    if !intact {
        put_damaged(machine, b"params", address, bytes.len() as u64);
        machine.put_str("SHA-256 mismatch");
        return end(machine, End::Reset).into();
    }

    let policy = OnMismatch::from_raw(params.on_mismatch);
    machine.set_policy(policy);
    let flags = Flags::from_bits_truncate(params.flags);
    if flags.contains(Flags::VERIFY) {
        // The count was checked with the block.
        if let Some(end) = verify(machine, &params.regions[..params.region_count as usize], policy)
        {
            return end.into();
        }
    } else {
        machine.put_str("purgatory: not verified");
        machine.end_line();
    }

    if flags.contains(Flags::BACKUP) {
        machine.copy(&params.backup);
    }
    for span in &params.zero[..params.zero_count as usize] {
        machine.zero(span);
    }
    handoff(machine, params)
}

/// Checks every region; what to do instead of going on, if one is damaged and the policy
/// does not ignore it.
fn verify(machine: &mut impl Machine, regions: &[Region], policy: OnMismatch) -> Option<End> {
    let mut intact = true;
    for region in regions {
        let Some(quarter) = verify::damaged_quarter(machine, region) else {
            continue;
        };
        intact = false;
        put_damaged(machine, &region.name, region.address, region.length);
        machine.put_str("SHA-256 mismatch in its ");
        machine.put_str(quarter);
        machine.put_str(" quarter");
        match policy {
            OnMismatch::Reset => return Some(end(machine, End::Reset)),
            OnMismatch::Halt => return Some(end(machine, End::Halt)),
            OnMismatch::Ignore => machine.put_str("; going on"),
        }
        machine.end_line();
    }
    if intact {
        machine.put_str("purgatory: verified ");
        machine.put_decimal(regions.len() as u64);
        machine.put_str(" regions");
        machine.end_line();
    }
    None
}

fn put_damaged(machine: &mut impl Machine, name: &[u8], address: u64, length: u64) {
    machine.put_str("purgatory: DAMAGED: ");
    machine.put_name(name);
    machine.put_str(" at ");
    machine.put_hex(address);
    machine.put_str("-");
    machine.put_hex(address.wrapping_add(length.saturating_sub(1)));
    machine.put_str(": ");
}

fn handoff<M: Machine>(machine: &mut M, params: &Params) -> Next<M::Entry> {
    let mode = HandoffMode::from_raw(params.handoff.mode);
    let Some(entry) = mode.and_then(|mode| machine.entry(mode)) else {
        machine.put_str("purgatory: unknown handoff mode ");
        machine.put_hex(params.handoff.mode.into());
        return end(machine, End::Reset).into();
    };
    machine.put_str("purgatory: handoff to ");
    machine.put_hex(params.handoff.entry);
    machine.end_line();
    Next::Handoff(entry)
}

/// Finishes the line that says why purgatory does not hand over.
fn end(machine: &mut impl Machine, end: End) -> End {
    machine.put_str(match end {
        End::Reset => "; resetting",
        End::Halt => "; halting",
    });
    machine.end_line();
    end
}

/// How it ends without a handoff.
#[derive(Clone, Copy)]
enum End {
    Reset,
    Halt,
}

impl<E> From<End> for Next<E> {
    fn from(end: End) -> Self {
        match end {
            End::Reset => Self::Reset,
            End::Halt => Self::Halt,
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
