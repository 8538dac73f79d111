//! Exceptions inside purgatory: report, then the policy. Nothing comes back from here, except
//! from an NMI (exceptions.S).

use core::arch::global_asm;

use purgatory::console::Console;
use purgatory::fault::{End, Faults};
use purgatory::params::OnMismatch;
use spin::Once;

use crate::console::{CONSOLE, Devices};
use crate::control::{self, DescriptorTable};
use crate::reset;

/// Exceptions are vectors 0 to 31 (Intel SDM volume 3, 6.3.1).
const VECTORS: usize = 32;
/// Distance between two vectors' code in exceptions.S.
const STUB_SIZE: usize = 16;
/// Purgatory's code segment (the image's entry.S).
const CODE_SELECTOR: u64 = 0x10;
/// Present, ring 0, interrupt gate of the mode's width.
const INTERRUPT_GATE: u64 = 0x8e00;

#[cfg(target_arch = "x86_64")]
global_asm!(include_str!("exceptions64.S"), include_str!("exceptions.S"), options(raw));
#[cfg(target_arch = "x86")]
global_asm!(include_str!("exceptions32.S"), include_str!("exceptions.S"), options(raw));

/// How the report calls the instruction pointer.
#[cfg(target_arch = "x86_64")]
const INSTRUCTION_POINTER: &str = " rip ";
#[cfg(target_arch = "x86")]
const INSTRUCTION_POINTER: &str = " eip ";

unsafe extern "C" {
    /// Code of the 32 vectors, [`STUB_SIZE`] apart.
    static purgatory_vectors: [[u8; STUB_SIZE]; VECTORS];
}

/// An IDT entry: eight bytes, and in 64-bit mode eight more for the address's high half.
#[cfg(target_arch = "x86_64")]
type Gate = [u64; 2];
#[cfg(target_arch = "x86")]
type Gate = [u64; 1];

static IDT: Once<[Gate; VECTORS]> = Once::new();
static FAULTS: Faults = Faults::none();

/// From now on an exception is reported and ends as [`set_policy`] says.
pub fn install() {
    let first = (&raw const purgatory_vectors).addr();
    let idt = IDT.call_once(|| core::array::from_fn(|vector| gate(first + vector * STUB_SIZE)));
    DescriptorTable::new(idt).load_idt();
}

/// What a fault leads to; until it is called, and if there is nothing to go on with, a reset.
pub fn set_policy(policy: OnMismatch) {
    FAULTS.set_policy(policy);
}

/// Says `line` if the console can still be used, and ends as the policy says.
pub fn fatal(line: &str) -> ! {
    end(|console| console.put_str(line))
}

#[cfg(target_arch = "x86_64")]
fn gate(handler: usize) -> Gate {
    [gate_low(handler), handler as u64 >> 32]
}

#[cfg(target_arch = "x86")]
fn gate(handler: usize) -> Gate {
    [gate_low(handler)]
}

fn gate_low(handler: usize) -> u64 {
    let handler = handler as u64;
    handler & 0xffff | CODE_SELECTOR << 16 | INTERRUPT_GATE << 32 | (handler & 0xffff_0000) << 32
}

/// Called by every vector's code.
#[unsafe(no_mangle)]
extern "C" fn purgatory_exception(vector: usize, error: usize, instruction: usize) -> ! {
    let cr2 = control::page_fault_address();
    end(|console| {
        for (name, value) in [
            ("purgatory: EXCEPTION vector ", vector),
            (" error ", error),
            (INSTRUCTION_POINTER, instruction),
            (" cr2 ", cr2),
        ] {
            console.put_str(name);
            console.put_hex(value as u64);
        }
    })
}

fn end(report: impl FnOnce(&mut Devices)) -> ! {
    match FAULTS.end(CONSOLE.try_lock(), report) {
        End::Reset => reset::reset(),
        End::Halt => reset::halt(),
        End::GiveUp => reset::triple_fault(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_the_low_half_of_the_address() {
        let low = gate_low(0x9abc_def0);
        assert_eq!(low & 0xffff, 0xdef0);
        assert_eq!(low >> 48, 0x9abc);
        assert_eq!(low >> 16 & 0xffff_ffff, 0x8e00_0010);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_64_bit_gate_holds_the_whole_address() {
        let [low, high] = gate(0x1234_5678_9abc_def0);
        assert_eq!(low, gate_low(0x9abc_def0));
        assert_eq!(high, 0x1234_5678);
    }
}
