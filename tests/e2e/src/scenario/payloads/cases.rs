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

const LINUX: Payload = Payload { protocol: "linux.c", script: "linux.lds", is_flat: true, ..ELF };
const INITRD_OPTION: &[&str] = &["--initrd=/e2e/module-1"];

const CASES: [Case; 8] = [
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
    Case {
        payload: Payload { name: "linux-2.02", defines: &["LINUX=0x202"], ..LINUX },
        options: INITRD_OPTION,
        expect: linux_old,
    },
    Case {
        payload: Payload { name: "linux32", defines: &["LINUX=0x20f"], ..LINUX },
        options: &["--entry-32bit", INITRD_OPTION[0]],
        expect: linux32,
    },
    Case {
        payload: Payload { name: "linux64", bits: 64, defines: &["LINUX=0x20f"], ..LINUX },
        options: INITRD_OPTION,
        expect: linux64,
    },
];

/// "Machine state" of both Multiboot specifications: 3.2 and 3.3.
fn multiboot_machine(checks: &mut Checks<'_>) {
    protected_mode(checks);
    cleared(checks);
    checks.is("a20", 1);
}

/// What the file does not have is zero all the same.
fn cleared(checks: &mut Checks<'_>) {
    checks.is("bss", 0);
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
    checks.firmware_map();
    checks.amounts_of_memory();
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

/// Documentation/x86/boot.rst and zero-page.rst.
fn boot_params(checks: &mut Checks<'_>, version: u64) {
    checks.is("sentinel", 0);
    checks.is("boot_flag", 0xaa55);
    checks.is("header", u32::from_le_bytes(*b"HdrS").into());
    checks.is("version", version);
    // kexec's number, in its high half.
    checks.masked("type_of_loader", 0xf0, 0xd0);
    checks.is("code32_start", 1 << 20);
    checks.text("cmdline", &[APPEND]);
    checks.is("initrd_length", MODULES[0].1.len() as u64);
    checks.text("initrd", &[MODULES[0].1]);
    checks.firmware_map();
}

/// "32-bit Boot Protocol": ebp, edi and ebx are zero.
fn linux_in_32_bits(checks: &mut Checks<'_>, version: u64) {
    protected_mode(checks);
    for register in ["b", "di", "bp"] {
        checks.is(register, 0);
    }
    checks.is("cs", 0x10);
    checks.is("ds", 0x18);
    boot_params(checks, version);
}

fn linux_old(checks: &mut Checks<'_>) {
    linux_in_32_bits(checks, 0x202);
}

fn linux32(checks: &mut Checks<'_>) {
    linux_in_32_bits(checks, 0x20f);
}

/// "64-bit Boot Protocol".
fn linux64(checks: &mut Checks<'_>) {
    long_mode(checks);
    checks.is("cs", 0x10);
    checks.is("ds", 0x18);
    boot_params(checks, 0x20f);
}

fn elf32(checks: &mut Checks<'_>) {
    protected_mode(checks);
    cleared(checks);
    checks.is("return_address", 0);
    notes(checks);
}

fn elf64(checks: &mut Checks<'_>) {
    long_mode(checks);
    cleared(checks);
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
}
