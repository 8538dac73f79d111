//! The payloads, how each is loaded, and what its protocol promises.

use purgatorio::facts::Arch;

use super::checks::{Checks, Segment};
use super::{MODULES, PAYLOAD};
use crate::payload::Payload;

/// The command line that is given.
pub const APPEND: &str = "first=1 \"two words\" last";

/// A payload and what must be seen.
pub struct Case {
    pub payload: Payload,
    /// More options of the loader.
    pub options: &'static [&'static str],
    /// Checks it.
    pub expect: fn(&mut Checks<'_>),
}

/// Those that a machine of `arch` can run.
pub fn of(arch: Arch) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| arch == Arch::X86_64 || case.payload.bits == 32)
}

const ELF: Payload = Payload {
    name: "",
    bits: 32,
    protocol: "",
    defines: &[],
    script: "payload.lds",
    is_flat: false,
};
const MODULE_OPTIONS: &[&str] = &["--module=/e2e/module-1 one two", "--module=/e2e/module-2"];

const CASES: [Case; 5] = [
    Case {
        payload: Payload {
            name: "multiboot",
            protocol: "multiboot.c",
            defines: &["MULTIBOOT"],
            ..ELF
        },
        options: MODULE_OPTIONS,
        expect: multiboot,
    },
    Case {
        payload: Payload {
            name: "multiboot-flat",
            protocol: "multiboot.c",
            defines: &["MULTIBOOT", "FLAT"],
            is_flat: true,
            ..ELF
        },
        options: MODULE_OPTIONS,
        expect: multiboot,
    },
    Case {
        payload: Payload {
            name: "multiboot2",
            protocol: "multiboot2.c",
            defines: &["MULTIBOOT2"],
            ..ELF
        },
        options: MODULE_OPTIONS,
        expect: multiboot2,
    },
    Case {
        payload: Payload { name: "elf32", protocol: "elf_notes.c", ..ELF },
        options: &[],
        expect: elf32,
    },
    Case {
        payload: Payload { name: "elf64", bits: 64, protocol: "elf_notes.c", ..ELF },
        options: &["--args-elf"],
        expect: elf64,
    },
];

/// "Machine state" of both Multiboot specifications: 3.2 and 3.3.
fn multiboot_machine(checks: &mut Checks<'_>) {
    protected_mode(checks);
    checks.is("a20", 1);
}

/// 32-bit mode without paging, flat segments, no interrupts.
fn protected_mode(checks: &mut Checks<'_>) {
    const PE: u64 = 1;
    const PG: u64 = 1 << 31;
    checks.is("bits", 32);
    checks.masked("cr0", PE | PG, PE);
    checks.is("cr4", 0);
    checks.masked("efer", LME, 0);
    checks.masked("flags", IF | DF | VM, 0);
    checks.segment("cs", Segment { executable: true, long: false });
    for data in ["ds", "es", "fs", "gs", "ss"] {
        checks.segment(data, Segment { executable: false, long: false });
    }
    // What the file does not have is zero all the same.
    checks.is("bss", 0);
}

const IF: u64 = 1 << 9;
const DF: u64 = 1 << 10;
const VM: u64 = 1 << 17;
const LME: u64 = 1 << 8;

/// What both versions tell.
fn multiboot_information(checks: &mut Checks<'_>) {
    checks.text("cmdline", &[&format!("{PAYLOAD} {APPEND}")]);
    checks.text("loader", &["purgatorio"]);
    checks.is("modules", MODULES.len() as u64);
    checks.text("module_text", &["/e2e/module-1 one two", "/e2e/module-2"]);
    checks.text("module_data", &MODULES.map(|(_, content)| content));
    let lengths = MODULES.map(|(_, content)| format!("{:x}", content.len()));
    checks.text("module_length", &lengths.each_ref().map(String::as_str));
    checks.on_pages("module_start");
    checks.memory_map();
}

fn multiboot(checks: &mut Checks<'_>) {
    multiboot_machine(checks);
    checks.is("a", 0x2bad_b002);
    // Basic memory, command line, modules, memory map, the loader's name; not both kinds of symbols.
    checks.masked("info_flags", 0b10_0111_1101, 0b10_0100_1101);
    multiboot_information(checks);
}

fn multiboot2(checks: &mut Checks<'_>) {
    multiboot_machine(checks);
    checks.is("a", 0x36d7_6289);
    checks.is("info_misalignment", 0);
    checks.is("info_reserved", 0);
    checks.is("mmap_entry_version", 0);
    checks.is("end_tag_size", 8);
    checks.is("behind_end", 0);
    multiboot_information(checks);
}

fn notes(checks: &mut Checks<'_>) {
    checks.is("signature", 0x0e1f_b007);
    checks.is("sum", 0xffff);
    checks.is("records", 3);
    checks.is("behind_end", 0);
    checks.text("loader", &["purgatorio"]);
    checks.text("cmdline", &[APPEND]);
}

fn elf32(checks: &mut Checks<'_>) {
    protected_mode(checks);
    checks.is("return_address", 0);
    notes(checks);
}

fn elf64(checks: &mut Checks<'_>) {
    long_mode(checks);
    notes(checks);
}

/// 64-bit mode with paging, no interrupts.
fn long_mode(checks: &mut Checks<'_>) {
    const PE_PG: u64 = 1 << 31 | 1;
    const PAE: u64 = 1 << 5;
    checks.is("bits", 64);
    checks.masked("cr0", PE_PG, PE_PG);
    checks.masked("cr4", PAE, PAE);
    checks.masked("efer", LME, LME);
    checks.masked("flags", IF | DF, 0);
    checks.segment("cs", Segment { executable: true, long: true });
    for data in ["ds", "es", "fs", "gs", "ss"] {
        checks.segment(data, Segment { executable: false, long: false });
    }
    checks.is("bss", 0);
}
