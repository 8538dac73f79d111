//! What proves that a dump is true.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Error, prove};
use crate::cell::Cell;
use crate::dump::Dump;
use crate::layout::Layout;
use crate::loader::Maker;
use crate::outcome::Evidence;
use crate::phases;
use crate::qemu::Qemu;

/// Low memory that purgatory copies to the backup region: 640 KiB.
pub(super) const LOW_MEMORY: u64 = 0xa_0000;
/// How much of it a PC's firmware leaves to the kernel at least.
const LOW_MEMORY_LEAST: u64 = 0x9_0000;

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

/// The dump holds the pattern page and the log, in our reading and in that of three others.
pub(super) fn dump_is_true(
    file: &Path,
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

    let log = dump.kernel_log()?;
    prove(log.contains(&format!("nonce {nonce}")), || {
        "makedumpfile --dump-dmesg does not show the nonce".into()
    })?;
    evidence.insert("makedumpfile_log_lines".into(), json!(log.lines().count()));

    let loads = dump.program_headers()?.lines().filter(|l| l.trim().starts_with("LOAD")).count();
    prove(loads == dump.loads.len() && loads > 0, || {
        format!("readelf sees {loads} PT_LOADs and we see {}", dump.loads.len())
    })?;
    evidence.insert("readelf_loads".into(), json!(loads));

    let word = u64::from_le_bytes(pattern[..8].try_into().unwrap_or_default());
    let virtual_address = dump.virtual_address(address)?;
    let seen = dump.gdb_word(virtual_address)?;
    prove(seen == Some(word), || {
        format!("gdb sees {seen:x?} at {virtual_address:#x} instead of {word:#x}")
    })?;
    evidence.insert("gdb_read_at".into(), json!(format!("{virtual_address:#x}")));
    Ok(())
}

/// The dump's low memory is what was there when purgatory was entered.
pub(super) fn low_memory_is_true(
    file: &Path,
    before: &Path,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let before_bytes =
        fs::read(before).map_err(|source| Error::File { path: before.to_owned(), source })?;
    let dump = Dump::open(file)?;
    let mut compared = 0;
    for load in dump.loads.iter().filter(|load| load.physical < LOW_MEMORY) {
        let end = LOW_MEMORY.min(load.physical + load.size);
        let length = usize::try_from(end - load.physical).unwrap_or_default();
        let from = usize::try_from(load.physical).unwrap_or_default();
        let dumped = dump.read(load.physical, length)?;
        let there = &before_bytes[from..from + length];
        if let Some(at) = dumped.iter().zip(there).position(|(dumped, there)| dumped != there) {
            let address = load.physical + at as u64;
            return Err(Error::Proof(format!(
                "low memory at {address:#x} is {:#04x} in the dump and was {:#04x} when purgatory \
                 was entered",
                dumped[at], there[at]
            )));
        }
        compared += end - load.physical;
    }
    prove(compared >= LOW_MEMORY_LEAST, || {
        format!("the dump has only {compared:#x} bytes of the first {LOW_MEMORY:#x}")
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
    prove(text.contains(&format!("CPU: {cpu} PID: 1 ")), || {
        format!("{} does not say that CPU {cpu} panicked", log.display())
    })?;
    evidence.insert("panicked_cpu".into(), json!(cpu));
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
        // An x86_64 kernel's entry is its first byte; unpacked, it is several times its file's size.
        "direct" => Some(handoff) == start && loaded > 2 * image,
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

/// The dumped kernel says that it ran with the paging levels and the randomization wanted.
pub(super) fn machine_is_as_wanted(
    file: &Path,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let dump = Dump::open(file)?;
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
