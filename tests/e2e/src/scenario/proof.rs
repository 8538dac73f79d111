//! What proves that a dump is true.

use std::fs;
use std::ops::Range;
use std::path::Path;

use object::Endian;
use purgatorio::facts::Arch;
use serde_json::json;

use super::{Error, prove};
use crate::arch::{LowMemory, Profile};
use crate::cell::Cell;
use crate::dump::Dump;
use crate::layout::Layout;
use crate::loader::Maker;
use crate::outcome::Evidence;
use crate::phases;
use crate::qemu::Qemu;

/// The saved log has what was printed before the panic, and the panic.
pub(super) fn nonce_in_log(
    folder: &Path,
    nonce: &str,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let log = folder.join("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    prove(text.contains(&format!("nonce {nonce}")), || {
        format!("{} does not have the nonce {nonce}", log.display())
    })?;
    prove(text.contains(phases::PANIC), || format!("{} has no panic", log.display()))?;
    evidence.insert("nonce_in_saved_log".into(), json!(nonce));
    Ok(())
}

/// The dump holds the pattern page and the log, in our reading and in that of others.
pub(super) fn dump_is_true(
    file: &Path,
    cell: &Cell,
    nonce: &str,
    address: u64,
    pattern: &[u8; 4096],
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
    let page = dump.read(address, pattern.len())?;
    prove(page == pattern, || {
        format!("{}: the page at {address:#x} is not what the guest wrote", file.display())
    })?;
    evidence.insert("pattern_at".into(), json!(format!("{address:#x}")));

    let words = format!("nonce {nonce}");
    if cell.arch == Arch::X86_64 {
        let log = dump.kernel_log()?;
        prove(log.contains(&words), || "makedumpfile --dump-dmesg does not show the nonce".into())?;
        evidence.insert("makedumpfile_log_lines".into(), json!(log.lines().count()));
    } else {
        // makedumpfile reads only dumps of the machine it was built for.
        prove(dump.has_text(&words)?, || format!("grep does not find {words:?} in the dump"))?;
        evidence.insert("nonce_in_dump".into(), json!(nonce));
    }

    let Profile { endian, gdb, .. } = cell.profile();
    if let Some(virtual_address) = dump.virtual_address(address)? {
        let word = endian.read_u64(pattern[..8].try_into().unwrap_or_default());
        let seen = dump.gdb_word(gdb, virtual_address)?;
        prove(seen == Some(word), || {
            format!("gdb sees {seen:x?} at {virtual_address:#x} instead of {word:#x}")
        })?;
        evidence.insert("gdb_read_at".into(), json!(format!("{virtual_address:#x}")));
    }
    Ok(())
}

/// readelf sees a core file of this machine, with every PT_LOAD and a note of every CPU.
pub(super) fn headers_are_true(
    file: &Path,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
    let text = dump.readelf()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let (class, data, machine) = (field("Class:"), field("Data:"), field("Machine:"));
    let Profile { endian, elf_machine, .. } = cell.profile();
    let byte_order = if endian.is_big_endian() { "big endian" } else { "little endian" };
    prove(data.ends_with(byte_order) && machine == *elf_machine, || {
        format!("readelf sees {data:?} of {machine:?}, not {byte_order} of {elf_machine:?}")
    })?;
    // A 32-bit file has no addresses for what lies above 4 GiB.
    let top = dump.loads.iter().map(|load| load.physical + load.size).max().unwrap_or_default();
    prove(
        class == "ELF64" || (class == "ELF32" && cell.arch == Arch::I386 && top <= 1 << 32),
        || format!("readelf sees {class:?}, with memory up to {top:#x}"),
    )?;

    let count = |what: &str| text.lines().filter(|line| line.trim().starts_with(what)).count();
    let loads = count("LOAD");
    prove(loads == dump.loads.len() && loads > 0, || {
        format!("readelf sees {loads} PT_LOADs and we see {}", dump.loads.len())
    })?;
    let cpus = text.matches("NT_PRSTATUS").count();
    prove(cpus == cell.smp, || format!("readelf sees the state of {cpus} of {} CPUs", cell.smp))?;
    evidence.insert("readelf_class".into(), json!(class));
    evidence.insert("readelf_data".into(), json!(data));
    evidence.insert("readelf_loads".into(), json!(loads));
    evidence.insert("readelf_cpus".into(), json!(cpus));
    Ok(())
}

/// The dump has all of the first kernel's memory but what it reserved: at most `reserved` bytes in
/// one piece.
pub(super) fn memory_is_complete(
    file: &Path,
    ram: &[Range<u64>],
    reserved: u64,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
    let mut missing = ram.to_vec();
    for load in &dump.loads {
        let end = load.physical + load.size;
        missing = missing
            .into_iter()
            .flat_map(|piece| {
                let before = piece.start..piece.end.min(load.physical);
                let after = piece.start.max(end)..piece.end;
                [before, after]
            })
            .filter(|piece| !piece.is_empty())
            .collect();
    }
    let first = missing.iter().map(|piece| piece.start).min().unwrap_or_default();
    let last = missing.iter().map(|piece| piece.end).max().unwrap_or_default();
    prove(!ram.is_empty() && last - first <= reserved, || {
        format!("the dump lacks memory at {missing:x?}; {reserved:#x} bytes were reserved")
    })?;
    let total: u64 = ram.iter().map(|piece| piece.end - piece.start).sum();
    evidence.insert("ram_ranges_in_dump".into(), json!(ram.len()));
    evidence.insert("ram_bytes_in_dump".into(), json!(total - (last - first)));
    Ok(())
}

/// The dump's low memory is what was there when purgatory was entered.
pub(super) fn low_memory_is_true(
    file: &Path,
    before: &Path,
    low: LowMemory,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let before_bytes =
        fs::read(before).map_err(|source| Error::File { path: before.to_owned(), source })?;
    let dump = Dump::open(file)?;
    let mut compared = 0;
    for load in dump.loads.iter().filter(|load| load.physical < low.size) {
        let end = low.size.min(load.physical + load.size);
        let start = load.physical.max(low.given_up);
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or_default();
        let from = usize::try_from(start).unwrap_or_default();
        let dumped = dump.read(start, length)?;
        let there = &before_bytes[from..from + length];
        if let Some(at) = dumped.iter().zip(there).position(|(dumped, there)| dumped != there) {
            let address = start + at as u64;
            return Err(Error::Proof(format!(
                "low memory at {address:#x} is {:#04x} in the dump and was {:#04x} when purgatory \
                 was entered",
                dumped[at], there[at]
            )));
        }
        compared += length as u64;
    }
    prove(compared >= low.least, || {
        format!("the dump has only {compared:#x} bytes of the first {:#x}", low.size)
    })?;
    let used = before_bytes.iter().filter(|byte| **byte != 0).count();
    // The backup segment starts as zeroes: equal zeroes would prove no copy.
    prove(used > 0, || "low memory was all zeroes: nothing shows that it was copied".into())?;
    evidence.insert("low_memory_bytes_equal".into(), json!(compared));
    evidence.insert("low_memory_bytes_not_zero".into(), json!(used));
    Ok(())
}

/// The saved log says that `/init` panicked on this CPU.
pub(super) fn panicked_on(folder: &Path, cpu: usize, evidence: &mut Evidence) -> Result<(), Error> {
    let log = folder.join("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    // From 6.12 on the user is between them.
    let cpu_words = format!(" CPU: {cpu} ");
    prove(text.lines().any(|line| line.contains(&cpu_words) && line.contains(" PID: 1 ")), || {
        format!("{} does not say that CPU {cpu} panicked", log.display())
    })?;
    evidence.insert("panicked_cpu".into(), json!(cpu));
    Ok(())
}

/// The capture kernel says that it has brought up so many CPUs.
pub(super) fn capture_brought_up(
    qemu: &Qemu,
    cpus: usize,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let panic = qemu.serial.lines().iter().position(|line| line.text.contains(phases::PANIC));
    let after = &qemu.serial.lines()[panic.unwrap_or_default()..];
    // Kernel 6.1 kernel/smp.c, smp_init.
    let wanted = format!(", {cpus} CPUs");
    let said = |text: &str| text.contains("Brought up ") && text.ends_with(&wanted);
    prove(after.iter().any(|line| said(&line.text)), || {
        format!("the capture kernel does not say that it brought up {cpus} CPUs")
    })?;
    evidence.insert("capture_cpus".into(), json!(cpus));
    Ok(())
}

/// Our purgatory handed over where the plan's entry mode says.
pub(super) fn entered_as_planned(
    qemu: &Qemu,
    layout: &Layout,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    if cell.loader.maker == Maker::Peer {
        return Ok(());
    }
    let (Some(mode), Some(kernel)) = (layout.entry_mode.as_deref(), layout.segment("kernel"))
    else {
        return Err(Error::Proof("our plan names no entry mode or no kernel".into()));
    };
    let handoff = qemu.serial.lines().iter().find_map(|line| {
        let digits = line.text.split_once("purgatory: handoff to 0x")?.1;
        u64::from_str_radix(digits.trim(), 16).ok()
    });
    let kernels = || layout.segments.iter().filter(|segment| segment.what == "kernel");
    let loaded: u64 = kernels().map(|segment| segment.bufsz).sum();
    let start = kernels().map(|segment| segment.address).min();
    let image = fs::metadata(&cell.second_kernel).map_or(0, |metadata| metadata.len());
    let holds = handoff.is_some_and(|handoff| match mode {
        // Kernel 6.1 Documentation/x86/boot.rst: the 64-bit entry is 0x200 behind the 32-bit one.
        "bzimage64" => handoff == kernel.address + 0x200 && loaded <= image,
        "bzimage32" => handoff == kernel.address && loaded <= image,
        // An x86 kernel's entry is in its first page (Linux 6.12; its first byte before); unpacked,
        // it is several times its file's size.
        "direct" => start.is_some_and(|start| handoff & !0xfff == start) && loaded > 2 * image,
        // Kernel 6.1 arch/powerpc/kernel/head_64.S: entered at its first byte.
        "vmlinux" => Some(handoff) == start,
        _unknown => false,
    });
    prove(holds, || {
        format!(
            "entry mode {mode}: purgatory handed over to {handoff:x?} with {loaded:#x} bytes of \
             kernel, the most of it at {:#x}",
            kernel.address
        )
    })?;
    evidence.insert("entry_mode".into(), json!(mode));
    Ok(())
}

/// The dumped kernel says that it ran as the cell wants it: paging levels, randomization, MMU.
pub(super) fn machine_is_as_wanted(
    file: &Path,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
    match cell.arch {
        Arch::X86_64 => pc_is_as_wanted(&dump, cell, evidence),
        // Its vmcoreinfo says nothing about either.
        Arch::I386 => Ok(()),
        Arch::Ppc64le | Arch::Ppc64 => power_is_as_wanted(&dump, file, cell, evidence),
    }
}

fn pc_is_as_wanted(dump: &Dump, cell: &Cell, evidence: &mut Evidence) -> Result<(), Error> {
    // Kernel 6.1 Documentation/admin-guide/kdump/vmcoreinfo.rst.
    let levels = dump.vmcoreinfo("NUMBER(pgtable_l5_enabled)")?;
    let offset = dump.vmcoreinfo("KERNELOFFSET")?;
    let wanted = if cell.cpu.contains("la57=off") { "0" } else { "1" };
    prove(levels.as_deref() == Some(wanted), || {
        format!("5-level paging: vmcoreinfo says {levels:?}, wanted {wanted}")
    })?;
    let moved = offset.as_deref().is_some_and(|offset| offset != "0");
    prove(moved == cell.kaslr, || {
        format!("KASLR: vmcoreinfo says KERNELOFFSET={offset:?}, wanted it on: {}", cell.kaslr)
    })?;
    evidence.insert("five_level_paging".into(), json!(wanted == "1"));
    evidence.insert("kernel_offset".into(), json!(offset));
    Ok(())
}

fn power_is_as_wanted(
    dump: &Dump,
    file: &Path,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let log = file.with_file_name("vmcore-dmesg.txt");
    let text =
        fs::read_to_string(&log).map_err(|source| Error::File { path: log.clone(), source })?;
    // The only MMU of POWER8 is the hash table; later CPUs have both, and Linux prefers radix.
    let wanted = if cell.cpu.starts_with("POWER8") { "hash-mmu: " } else { "radix-mmu: " };
    prove(text.contains(wanted), || format!("{} has no line with {wanted:?}", log.display()))?;
    evidence.insert("mmu".into(), json!(wanted.trim_end_matches("-mmu: ")));
    evidence.insert("page_size".into(), json!(dump.vmcoreinfo("PAGESIZE")?));
    Ok(())
}
