//! What the kernel says of kexec itself. Since 6.19 its files are in /sys/kernel/kexec
//! (Documentation/ABI/testing/sysfs-kernel-kexec-kdump), before under older names; the new ones
//! are asked first.

use super::{
    MachineError, ParseError, Sysroot,
    parse::{decimal_file, inclusive_range},
};
use crate::{plan::Target, range::PhysRange};

/// Whether a kernel is loaded; `None` if this kernel has no kexec.
pub fn loaded(root: &Sysroot, target: Target) -> Result<Option<bool>, MachineError> {
    let value: Option<u64> = match target {
        Target::Reboot => first(root, ["sys/kernel/kexec/loaded", "sys/kernel/kexec_loaded"]),
        Target::Crash => {
            first(root, ["sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded"])
        }
    }?;
    Ok(value.map(|value| value != 0))
}

/// Bytes reserved for the crash kernel, 0 without a reservation; `None` if this kernel has no
/// kexec.
pub fn crash_size(root: &Sysroot) -> Result<Option<u64>, MachineError> {
    first(root, ["sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size"])
}

/// Bytes that the kernel wants for `elfcorehdr` to update it when CPUs or memory come and go;
/// `None` if it does not do that.
pub fn crash_elfcorehdr_size(root: &Sysroot) -> Result<Option<u64>, MachineError> {
    first(root, ["sys/kernel/kexec/crash_elfcorehdr_size", "sys/kernel/crash_elfcorehdr_size"])
}

/// Ranges of `crashkernel=…,cma`, by address: the running kernel lends them to user pages, the
/// capture kernel may overwrite them.
pub fn crash_cma_ranges(root: &Sysroot) -> Result<Vec<PhysRange>, MachineError> {
    let ranges = root.parsed("sys/kernel/kexec/crash_cma_ranges", parse_ranges)?;
    Ok(ranges.unwrap_or_default())
}

fn first(root: &Sysroot, files: [&str; 2]) -> Result<Option<u64>, MachineError> {
    let [new, old] = files;
    match root.parsed(new, decimal_file)? {
        Some(value) => Ok(Some(value)),
        None => root.parsed(old, decimal_file),
    }
}

/// Lines `start-last`.
fn parse_ranges(text: &str) -> Result<Vec<PhysRange>, ParseError> {
    let mut ranges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        ranges.push(inclusive_range(line.trim()).ok_or_else(|| {
            ParseError::new(index.saturating_add(1), "`start-end` in hexadecimal", line)
        })?);
    }
    ranges.sort_unstable();
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cma_ranges_are_inclusive_lines() {
        assert_eq!(
            parse_ranges("100000000-10c7fffff\n2b000000-2bffffff\n"),
            Ok(vec![
                PhysRange::new(0x2b00_0000, 0x2c00_0000),
                PhysRange::new(0x1_0000_0000, 0x1_0c80_0000)
            ])
        );
        assert_eq!(parse_ranges(""), Ok(vec![]));
        assert!(parse_ranges("1000\n").is_err());
    }
}
