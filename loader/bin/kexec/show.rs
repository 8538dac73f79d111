//! The plan, as a table for people and as JSON for programs.

use std::io::{self, Write};

use indicatif::HumanBytes;
use purgatorio::{
    options::Format,
    plan::{EntryMode, Plan, Segment, Target, What, x86::kaslr::Bases},
};
use serde::Serialize;

use crate::tree_summary::TreeSummary;

/// What will be, or would be, handed to the running kernel.
pub enum Shown<'a> {
    /// kexec_load: segments of our own making.
    KexecLoad(&'a Plan<'a>),
    /// kexec_file_load: files; the kernel makes the segments.
    FileLoad(&'a FileLoad),
}

/// What kexec_file_load is given.
pub struct FileLoad {
    /// What it is for.
    pub target: Target,
    /// Path of the kernel's file.
    pub kernel: String,
    /// Path of the initial RAM disk's file.
    pub initrd: Option<String>,
    /// The next kernel's command line, to which the kernel may add.
    pub command_line: String,
}

/// Writes it in the given form. A reader that went away (a closed pipe) is no error.
pub fn show(shown: &Shown<'_>, format: Format, out: &mut impl Write) -> io::Result<()> {
    let written = match (shown, format) {
        (Shown::KexecLoad(plan), Format::Table) => plan_table(plan, out),
        (Shown::FileLoad(files), Format::Table) => files_table(files, out),
        (Shown::KexecLoad(plan), Format::Json) => json(&PlanJson::new(plan), out),
        (Shown::FileLoad(files), Format::Json) => json(&PlanJson::of_files(files), out),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn plan_table(plan: &Plan<'_>, out: &mut impl Write) -> io::Result<()> {
    let total = plan.segments.iter().map(|segment| segment.memsz).sum();
    writeln!(
        out,
        "kexec_load, to start {}: {} segments, {}\n",
        occasion(plan.target),
        plan.segments.len(),
        HumanBytes(total)
    )?;
    let ranges: Vec<String> =
        plan.segments.iter().map(|segment| segment.range().to_string()).collect();
    let width = ranges.iter().map(String::len).max().unwrap_or(0);
    writeln!(
        out,
        "  {:<width$}  {:>10}  {:<16}  SHA-256 of its quarters",
        "range", "size", "what"
    )?;
    for (segment, range) in plan.segments.iter().zip(ranges) {
        writeln!(
            out,
            "  {range:<width$}  {:>10}  {:<16}  {}",
            HumanBytes(segment.memsz).to_string(),
            segment.what,
            verification(segment, is_verified(plan))
        )?;
    }
    writeln!(out, "\nstarts at  {:#x}, purgatory", plan.entry)?;
    writeln!(out, "goes on at {}", entry_mode(plan.entry_mode))?;
    if let Some(reason) = &plan.entry_reason {
        writeln!(out, "why        {reason}")?;
    }
    if let Some(Bases { physical, virtual_address, fixed }) = plan.bases {
        write!(out, "its start  {physical:#x} physical, {virtual_address:#x} virtual; ")?;
        match fixed {
            None => writeln!(out, "random (KASLR)")?,
            Some(reason) => writeln!(out, "not random: {reason}")?,
        }
    }
    if let Some(tree) = TreeSummary::of(plan) {
        writeln!(out, "\nmemory by the device tree: {}", tree.memory.join(", "))?;
        writeln!(out, "reserved in it:")?;
        for range in tree.reserved {
            writeln!(out, "  {range}")?;
        }
    }
    command_line(&plan.command_line, out)
}

/// What purgatory does to find damage in the segment.
fn verification(segment: &Segment<'_>, is_verified: bool) -> String {
    match (&segment.digest, segment.what) {
        (Some(digests), _) => digests.map(|digest| format!("{}…", hex(&digest[..4]))).join(" "),
        (None, What::Backup) => "room for low memory, filled on the panic".to_owned(),
        (None, _) if !is_verified => "not verified (--no-checks)".to_owned(),
        (None, What::Purgatory) => "verifies its own code and parameters".to_owned(),
        (None, What::Elfcorehdr | What::Dtb) => {
            "not verified: the kernel updates it (--hotplug)".to_owned()
        }
        (
            None,
            What::Kernel
            | What::Initrd
            | What::Modules
            | What::BootInformation
            | What::BootParams
            | What::CommandLine,
        ) => "not verified: nothing is loaded there".to_owned(),
    }
}

/// Whether purgatory verifies anything: then it does the kernel.
fn is_verified(plan: &Plan<'_>) -> bool {
    plan.segments.iter().any(|segment| segment.digest.is_some())
}

fn files_table(files: &FileLoad, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "kexec_file_load, to start {}: the running kernel makes the segments\n",
        occasion(files.target)
    )?;
    writeln!(out, "kernel     {}", files.kernel)?;
    if let Some(initrd) = &files.initrd {
        writeln!(out, "initrd     {initrd}")?;
    }
    command_line(&files.command_line, out)
}

fn command_line(text: &str, out: &mut impl Write) -> io::Result<()> {
    match text.len() {
        0 => writeln!(out, "\ncommand line: empty"),
        length => writeln!(out, "\ncommand line, {length} bytes:\n  {text}"),
    }
}

fn occasion(target: Target) -> &'static str {
    match target {
        Target::Reboot => "on reboot",
        Target::Crash => "on a panic",
    }
}

fn entry_mode(mode: EntryMode) -> &'static str {
    match mode {
        EntryMode::Direct => "the unpacked kernel's own entry (direct)",
        EntryMode::BzImage64 => "the bzImage's 64-bit entry, which unpacks the kernel (bzimage)",
        EntryMode::BzImage32 => "the bzImage's 32-bit entry, which unpacks the kernel (bzimage)",
        EntryMode::Vmlinux => "the kernel's first instruction (vmlinux)",
        EntryMode::Multiboot => "the Multiboot kernel's entry, in 32-bit mode (multiboot)",
        EntryMode::Multiboot2 => "the Multiboot2 kernel's entry, in 32-bit mode (multiboot2)",
        EntryMode::Elf => "the ELF program's entry (elf)",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &PlanJson<'_>, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// The plan as JSON: every key is always there, `null` where it does not apply. Addresses are
/// hexadecimal strings: JSON's numbers end at 2^53. kexec(8) documents the keys.
#[derive(Serialize)]
struct PlanJson<'a> {
    system_call: &'static str,
    target: &'static str,
    /// Whether purgatory verifies; unknown where the running kernel brings its own.
    verified: Option<bool>,
    entry_mode: Option<&'static str>,
    entry_reason: Option<&'a str>,
    /// Of an x86 kernel that is entered directly for a reboot.
    bases: Option<BasesJson>,
    entry: Option<String>,
    kernel: Option<&'a str>,
    initrd: Option<&'a str>,
    command_line: &'a str,
    /// On machines that have one.
    device_tree: Option<TreeSummary>,
    segments: Vec<SegmentJson>,
}

#[derive(Serialize)]
struct BasesJson {
    physical: String,
    #[serde(rename = "virtual")]
    virtual_address: String,
    random: bool,
    /// Why they are not random.
    reason: Option<String>,
}

#[derive(Serialize)]
struct SegmentJson {
    what: &'static str,
    address: String,
    /// Size in memory, in bytes.
    memsz: u64,
    /// Bytes that are loaded; the rest is zero.
    bufsz: usize,
    /// SHA-256 of the four quarters of those bytes; `null` if purgatory does not verify it as a whole.
    sha256: Option<[String; 4]>,
}

impl<'a> PlanJson<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        Self {
            system_call: "kexec_load",
            target: target_name(plan.target),
            verified: Some(is_verified(plan)),
            entry_mode: Some(match plan.entry_mode {
                EntryMode::Direct => "direct",
                EntryMode::BzImage64 => "bzimage64",
                EntryMode::BzImage32 => "bzimage32",
                EntryMode::Vmlinux => "vmlinux",
                EntryMode::Multiboot => "multiboot",
                EntryMode::Multiboot2 => "multiboot2",
                EntryMode::Elf => "elf",
            }),
            entry_reason: plan.entry_reason.as_deref(),
            bases: plan.bases.map(BasesJson::new),
            entry: Some(format!("{:#x}", plan.entry)),
            kernel: None,
            initrd: None,
            command_line: &plan.command_line,
            device_tree: TreeSummary::of(plan),
            segments: plan.segments.iter().map(SegmentJson::new).collect(),
        }
    }

    fn of_files(files: &'a FileLoad) -> Self {
        Self {
            system_call: "kexec_file_load",
            target: target_name(files.target),
            verified: None,
            entry_mode: None,
            entry_reason: None,
            bases: None,
            entry: None,
            kernel: Some(&files.kernel),
            initrd: files.initrd.as_deref(),
            command_line: &files.command_line,
            device_tree: None,
            segments: Vec::new(),
        }
    }
}

impl BasesJson {
    fn new(bases: Bases) -> Self {
        Self {
            physical: format!("{:#x}", bases.physical),
            virtual_address: format!("{:#x}", bases.virtual_address),
            random: bases.fixed.is_none(),
            reason: bases.fixed.map(|fixed| fixed.to_string()),
        }
    }
}

impl SegmentJson {
    fn new(segment: &Segment<'_>) -> Self {
        Self {
            what: segment.what.name(),
            address: format!("{:#x}", segment.address),
            memsz: segment.memsz,
            bufsz: segment.data.len(),
            sha256: segment
                .digest
                .as_ref()
                .map(|quarters| quarters.each_ref().map(|quarter| hex(quarter))),
        }
    }
}

fn target_name(target: Target) -> &'static str {
    match target {
        Target::Reboot => "reboot",
        Target::Crash => "crash",
    }
}

#[cfg(test)]
mod tests {
    use purgatorio::plan::x86::kaslr::Fixed;

    use super::*;

    fn plan() -> Plan<'static> {
        let digests = Some([0xab, 0xcd, 0xef, 0x01].map(|byte| [byte; 32]));
        let segment = |what, address, memsz, digest| Segment {
            what,
            data: vec![1, 2, 3].into(),
            address,
            memsz,
            digest,
        };
        Plan {
            target: Target::Crash,
            entry_mode: EntryMode::Direct,
            entry_reason: Some("it is the fastest".to_owned()),
            bases: None,
            entry: 0x2a00_1000,
            segments: vec![
                segment(What::Purgatory, 0x2a00_0000, 0x5000, None),
                segment(What::Kernel, 0x2b00_0000, 0x0200_0000, digests),
                segment(What::Elfcorehdr, 0x2d00_0000, 0x1000, None),
                segment(What::Backup, 0x2d00_1000, 0xa_0000, None),
            ],
            command_line: "console=ttyS0 elfcorehdr=0x2f000000".to_owned(),
        }
    }

    fn shown(shown: &Shown<'_>, format: Format) -> String {
        let mut out = Vec::new();
        show(shown, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_has_all_a_person_asks_for() {
        let text = shown(&Shown::KexecLoad(&plan()), Format::Table);
        for part in [
            "0x2b000000-0x2cffffff",
            "32.00 MiB",
            "kernel",
            "abababab… cdcdcdcd… efefefef… 01010101…",
            "its own code",
            "the kernel updates it",
            "room for low memory",
            "0x2a001000",
            "(direct)",
            "it is the fastest",
            "35 bytes",
            "elfcorehdr=0x2f000000",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn random_addresses_are_told_from_fixed_ones() {
        let mut plan = plan();
        let random = Bases { physical: 0x1f60_0000, virtual_address: 0x95c0_0000, fixed: None };
        for (bases, said) in [
            (random, "0x1f600000 physical, 0x95c00000 virtual; random (KASLR)"),
            (Bases { fixed: Some(Fixed::Nokaslr), ..random }, "not random: nokaslr is on"),
        ] {
            plan.bases = Some(bases);
            let text = shown(&Shown::KexecLoad(&plan), Format::Table);
            assert!(text.contains(said), "{text}");
            let json = shown(&Shown::KexecLoad(&plan), Format::Json);
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["bases"]["random"], bases.fixed.is_none());
            assert_eq!(value["bases"]["reason"].is_string(), bases.fixed.is_some());
        }
    }

    #[test]
    fn the_table_says_that_nothing_is_verified() {
        let mut plan = plan();
        plan.segments.iter_mut().for_each(|segment| segment.digest = None);
        let text = shown(&Shown::KexecLoad(&plan), Format::Table);
        // Not the room for the backup.
        assert_eq!(text.matches("not verified (--no-checks)").count(), 3, "{text}");
    }

    #[test]
    fn json_has_whole_digests_and_exact_numbers() {
        let text = shown(&Shown::KexecLoad(&plan()), Format::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["segments"][1]["address"], "0x2b000000");
        assert_eq!(value["segments"][1]["memsz"], 0x0200_0000);
        assert_eq!(value["segments"][1]["bufsz"], 3);
        assert_eq!(value["segments"][1]["sha256"][0], "ab".repeat(32));
        assert_eq!(value["segments"][0]["sha256"], serde_json::Value::Null);
        assert_eq!(value["system_call"], "kexec_load");
        assert_eq!(value["verified"], true);
        assert!(value.as_object().unwrap().contains_key("initrd"), "every key is there: {text}");
    }

    #[test]
    fn files_are_shown_without_segments() {
        let files = FileLoad {
            target: Target::Reboot,
            kernel: "/boot/vmlinuz".to_owned(),
            initrd: None,
            command_line: "quiet".to_owned(),
        };
        let table = shown(&Shown::FileLoad(&files), Format::Table);
        assert!(table.contains("/boot/vmlinuz") && table.contains("quiet"), "{table}");
        let json = shown(&Shown::FileLoad(&files), Format::Json);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["system_call"], "kexec_file_load");
        assert_eq!(value["segments"], serde_json::json!([]));
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        show(&Shown::KexecLoad(&plan()), Format::Json, &mut Closed).unwrap();
        show(&Shown::KexecLoad(&plan()), Format::Table, &mut Closed).unwrap();
    }
}
