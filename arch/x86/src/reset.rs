//! The ends that are not a handoff.

use core::arch::asm;
use core::hint::spin_loop;

use crate::control::DescriptorTable;
use crate::port::Port;

/// Keyboard controller: command and status.
// SAFETY: the keyboard controller does not touch memory.
const KEYBOARD: Port = unsafe { Port::new(0x64) };
/// Status bit: the controller has not taken the last byte yet.
const KEYBOARD_INPUT_FULL: u8 = 1 << 1;
/// Command: pulse output line 0, which is the CPU's reset.
const KEYBOARD_PULSE_RESET: u8 = 0xfe;
/// Reset control register of PCI chipsets.
// SAFETY: the reset register does not touch memory.
const RESET_CONTROL: Port = unsafe { Port::new(0xcf9) };
/// Choose a hard reset; the next write does it.
const RESET_HARD: u8 = 1 << 1;
/// Reset the CPU.
const RESET_NOW: u8 = 1 << 2;

/// Status reads that the keyboard controller gets to take a byte (each about 1 µs).
const KEYBOARD_POLLS: u32 = 0x1_0000;
/// Spins that a reset gets to happen before the next way is tried.
const GRACE: u32 = 1 << 24;

/// Resets the machine: keyboard controller, PCI reset register, triple fault.
pub fn reset() -> ! {
    // Without a controller the status reads 0xff: after these polls the command goes nowhere.
    let mut polls = 0;
    while KEYBOARD.read() & KEYBOARD_INPUT_FULL != 0 && polls < KEYBOARD_POLLS {
        polls += 1;
    }
    KEYBOARD.write(KEYBOARD_PULSE_RESET);
    grace();
    RESET_CONTROL.write(RESET_HARD);
    RESET_CONTROL.write(RESET_HARD | RESET_NOW);
    grace();
    triple_fault()
}

/// Shuts the CPU down by an exception with no handler, which makes every chipset reset.
pub fn triple_fault() -> ! {
    DescriptorTable::EMPTY.load_idt();
    // SAFETY: nothing comes after it.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

/// Stops for good; the console keeps what was said.
pub fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off this waits for ever; after an NMI, it waits again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

fn grace() {
    (0..GRACE).for_each(|_| spin_loop());
}
