//! Where purgatory's lines go: a terminal of the hypervisor, one of OPAL, or nowhere.

mod hypervisor_terminal;
mod opal_terminal;

use purgatory::console::Console;
use purgatory::params::{self, ConsoleFlags};
use spin::Mutex;

use crate::cpu;
use crate::firmware::Opal;
use hypervisor_terminal::HypervisorTerminal;
use opal_terminal::OpalTerminal;

/// Bytes that one call of the hypervisor takes.
const BUFFER: usize = 16;

/// The console in use. It starts silent.
pub static CONSOLE: Mutex<Devices> =
    Mutex::new(Devices { terminal: Terminal::None, buffer: [0; BUFFER], used: 0 });

/// The terminal that gets every byte, and what it has not got yet.
pub struct Devices {
    terminal: Terminal,
    buffer: [u8; BUFFER],
    used: usize,
}

enum Terminal {
    /// The first variant: its number is 0, and so the console's first state is all zeroes.
    None,
    Hypervisor(HypervisorTerminal),
    Opal(OpalTerminal),
}

impl Devices {
    /// The terminal that `wanted` names, if the machine is one that has it.
    pub fn open(wanted: &params::Console) -> Self {
        let flags = ConsoleFlags::from_bits_truncate(wanted.flags);
        let terminal = if cpu::is_hypervisor() {
            let opal = flags.contains(ConsoleFlags::OPAL).then(Opal::find).flatten();
            opal.map(|opal| Terminal::Opal(OpalTerminal::new(opal, wanted.terminal)))
        } else {
            let wanted = flags.contains(ConsoleFlags::HYPERVISOR).then_some(wanted.terminal);
            wanted.map(|terminal| Terminal::Hypervisor(HypervisorTerminal::new(terminal)))
        };
        let terminal = terminal.unwrap_or(Terminal::None);
        Self { terminal, buffer: [0; BUFFER], used: 0 }
    }

    fn flush(&mut self) {
        match &mut self.terminal {
            Terminal::None => (),
            Terminal::Hypervisor(terminal) => terminal.put(self.buffer, self.used),
            Terminal::Opal(terminal) => terminal.put(&self.buffer[..self.used]),
        }
        self.used = 0;
    }
}

impl Console for Devices {
    /// A byte waits in the buffer until that is full or the line ends.
    fn put_byte(&mut self, byte: u8) {
        self.buffer[self.used] = byte;
        self.used += 1;
        if self.used == BUFFER || byte == b'\n' {
            self.flush();
        }
    }
}
