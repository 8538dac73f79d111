//! Where purgatory reports: as asked, else where the running kernel does.

use purgatorio::{
    facts::{Facts, Platform, X86, ppc64::Terminal},
    options::Options,
    plan::command_line::words,
};
use purgatory::params::{Console, ConsoleFlags};

/// First I/O port of the first UART of a PC.
const TTYS0: u16 = 0x3f8;
/// First I/O port of the second one.
const TTYS1: u16 = 0x2f8;
/// `screen_info.orig_video_isVGA` in `boot_params` (kernel 6.1
/// include/uapi/linux/screen_info.h), and its value for a VGA in text mode.
const ORIG_VIDEO_IS_VGA: usize = 0x0f;
const VGA_TEXT_MODE: u8 = 1;

/// What the options say about the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleWish {
    /// First I/O port of the UART to use, if one is asked for.
    serial: Option<u16>,
    /// Baud rate to program.
    baud: Option<u32>,
    /// VGA text memory is asked for.
    vga: bool,
    /// Reset the VGA first.
    reset_vga: bool,
}

impl ConsoleWish {
    /// Picks the console's options out. Naming a UART or its baud rate asks for it.
    pub fn new(options: &Options) -> Self {
        let wants_serial = options.console_serial || options.serial_baud.is_some();
        Self {
            serial: options.serial.or(wants_serial.then_some(TTYS0)),
            baud: options.serial_baud,
            vga: options.console_vga,
            reset_vga: options.reset_vga,
        }
    }

    /// The console: the one asked for; if none is, the running kernel's; if that has none that
    /// purgatory can drive, none.
    pub fn choose(&self, facts: &Facts) -> Console {
        match &facts.platform {
            Platform::X86(x86) => self.of_pc(facts, x86),
            Platform::Ppc64(machine) => of_ppc64(machine.terminal),
        }
    }

    fn of_pc(&self, facts: &Facts, x86: &X86) -> Console {
        let (serial, vga) = if self.serial.is_some() || self.vga {
            (self.serial, self.vga)
        } else {
            let running = running_consoles(&facts.command_line);
            (running.serial, running.vga && is_vga_text(x86))
        };
        let mut flags = ConsoleFlags::empty();
        flags.set(ConsoleFlags::SERIAL_PORT, serial.is_some());
        flags.set(ConsoleFlags::VGA_TEXT, vga);
        flags.set(ConsoleFlags::RESET_VGA, self.reset_vga);
        Console {
            flags: flags.bits(),
            // The running kernel has set the UART up: keep it unless told otherwise.
            serial_baud: self.baud.unwrap_or(0),
            serial_base: serial.map_or(0, u64::from),
            terminal: 0,
        }
    }
}

/// The firmware's terminal: purgatory needs no driver for it.
fn of_ppc64(terminal: Option<Terminal>) -> Console {
    let (flags, terminal) = match terminal {
        Some(Terminal::Hypervisor(unit)) => (ConsoleFlags::HYPERVISOR, unit),
        Some(Terminal::Opal(number)) => (ConsoleFlags::OPAL, number),
        None => (ConsoleFlags::empty(), 0),
    };
    Console { flags: flags.bits(), terminal: terminal.into(), ..Console::default() }
}

/// Where purgatory reports, in words.
pub fn describe(console: &Console) -> String {
    let flags = ConsoleFlags::from_bits_retain(console.flags);
    let serial = flags
        .contains(ConsoleFlags::SERIAL_PORT)
        .then(|| format!("the UART at port {:#x}", console.serial_base));
    let vga = flags.contains(ConsoleFlags::VGA_TEXT).then(|| "the VGA text screen".to_owned());
    let terminal = console.terminal;
    if flags.contains(ConsoleFlags::HYPERVISOR) {
        return format!("purgatory reports on the hypervisor's terminal {terminal:#x}");
    }
    if flags.contains(ConsoleFlags::OPAL) {
        return format!("purgatory reports on OPAL's terminal {terminal}");
    }
    match (serial, vga) {
        (None, None) => "purgatory is silent: it has no console".to_owned(),
        (Some(one), None) | (None, Some(one)) => format!("purgatory reports on {one}"),
        (Some(serial), Some(vga)) => format!("purgatory reports on {serial} and {vga}"),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct RunningConsoles {
    serial: Option<u16>,
    vga: bool,
}

/// The consoles of a kernel command line. The last UART counts, as for /dev/console.
fn running_consoles(command_line: &str) -> RunningConsoles {
    let mut found = RunningConsoles::default();
    for word in words(command_line) {
        let Some((name, value)) = word.split_once('=') else { continue };
        let device = match name {
            "console" | "earlycon" => value,
            // earlyprintk=serial,ttyS0,115200 and earlyprintk=ttyS0,115200 are the same.
            "earlyprintk" => value.strip_prefix("serial,").unwrap_or(value),
            _ => continue,
        };
        match uart_port(device) {
            Some(port) => found.serial = Some(port),
            None => found.vga |= ["tty0", "vga"].contains(&first(device)),
        }
    }
    found
}

/// `ttyS0,115200n8`, `uart8250,io,0x3f8,115200`, `uart,io,0x3f8`, `0x3f8,115200` → the port.
fn uart_port(device: &str) -> Option<u16> {
    match first(device) {
        "ttyS0" | "serial" => Some(TTYS0),
        "ttyS1" => Some(TTYS1),
        "uart" | "uart8250" => {
            let mut fields = device.split(',').skip(1);
            (fields.next() == Some("io")).then(|| fields.next().and_then(port))?
        }
        other => port(other),
    }
}

fn port(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn first(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// Whether 0xb8000 is what the screen shows: a PC started by its BIOS that was in text mode.
fn is_vga_text(x86: &X86) -> bool {
    let mode = x86.boot_params.as_ref().and_then(|params| params.get(ORIG_VIDEO_IS_VGA));
    x86.efi.is_none() && mode == Some(&VGA_TEXT_MODE)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use purgatorio::{
        facts::Arch,
        machine::{self, Sysroot},
        options,
    };

    use super::*;

    /// What is chosen on a machine, here the captured one with a VGA and another command line.
    fn chosen(words: &str, command_line: &str, is_vga_text: bool) -> String {
        let words = std::iter::once("kexec").chain(words.split_whitespace());
        let (options, _) = options::parse(words.map(Into::into)).unwrap();
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysroot-x86_64-debian-6.1");
        let mut facts = machine::read_facts(&Sysroot::at(&root), Arch::X86_64).unwrap();
        facts.command_line = command_line.to_owned();
        let mut params = vec![0; 4096];
        params[ORIG_VIDEO_IS_VGA] = u8::from(is_vga_text);
        match &mut facts.platform {
            Platform::X86(x86) => x86.boot_params = Some(params),
            Platform::Ppc64(_) => panic!("a PC was captured"),
        }
        describe(&ConsoleWish::new(&options).choose(&facts))
    }

    #[test]
    fn options_win_over_the_running_kernel() {
        let running = "console=ttyS0 console=tty0";
        assert_eq!(
            chosen("--serial=0x3e8 k", running, true),
            "purgatory reports on the UART at port 0x3e8"
        );
        assert_eq!(
            chosen("--console-serial k", "", true),
            "purgatory reports on the UART at port 0x3f8"
        );
        assert_eq!(
            chosen("--console-vga k", running, false),
            "purgatory reports on the VGA text screen"
        );
        assert_eq!(
            chosen("k", running, true),
            "purgatory reports on the UART at port 0x3f8 and the VGA text screen"
        );
        // The VGA is in a graphics mode, or there is none.
        assert_eq!(
            chosen("--reset-vga k", running, false),
            "purgatory reports on the UART at port 0x3f8"
        );
        assert_eq!(chosen("k", "quiet", true), "purgatory is silent: it has no console");
    }

    fn found(serial: impl Into<Option<u16>>, vga: bool) -> RunningConsoles {
        RunningConsoles { serial: serial.into(), vga }
    }

    #[test]
    fn running_consoles_are_found() {
        assert_eq!(running_consoles("quiet console=ttyS0,115200n8"), found(TTYS0, false));
        assert_eq!(running_consoles("console=ttyS0 console=tty0"), found(TTYS0, true));
        assert_eq!(running_consoles("console=ttyS0 console=ttyS1"), found(TTYS1, false));
        assert_eq!(running_consoles("earlyprintk=serial,ttyS1,9600,keep"), found(TTYS1, false));
        assert_eq!(running_consoles("earlyprintk=ttyS0"), found(TTYS0, false));
        assert_eq!(running_consoles("earlyprintk=serial"), found(TTYS0, false));
        assert_eq!(running_consoles("earlyprintk=serial,0x3e8,9600"), found(0x3e8, false));
        assert_eq!(running_consoles("earlycon=uart8250,io,0x2f8,115200n8"), found(TTYS1, false));
        assert_eq!(running_consoles("console=uart,mmio32,0xfe0,9600"), found(None, false));
        assert_eq!(running_consoles("console=hvc0 root=/dev/ttyS0"), found(None, false));
        assert_eq!(running_consoles(""), found(None, false));
    }
}
