//! Where the kernel saves each CPU's registers when it crashes:
//! /sys/devices/system/cpu/cpuN/crash_notes, crash_notes_size
//! (kernel 6.1 Documentation/ABI/testing/sysfs-devices-system-cpu).

use super::{
    MachineError, Sysroot,
    parse::{decimal_file, hexadecimal_file},
};
use crate::facts::Note;

const CPUS: &str = "sys/devices/system/cpu";

/// The notes of every CPU that the kernel knows, on line or not, in the order of their numbers;
/// none on a kernel without kexec.
pub fn read(root: &Sysroot) -> Result<Vec<Note>, MachineError> {
    let mut notes = Vec::new();
    for cpu in root.numbered(CPUS, "cpu")? {
        let file = format!("{CPUS}/cpu{cpu}/crash_notes");
        let Some(address) = root.parsed(&file, hexadecimal_file)? else { continue };
        let size = root.required(&format!("{file}_size"), decimal_file)?;
        notes.push(Note { address, size });
    }
    Ok(notes)
}
