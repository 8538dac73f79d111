//! What may forbid kexec: lockdown, sysctls, Secure Boot, a missing capability.

use super::{
    MachineError, ParseError, Sysroot,
    parse::{decimal_file, hexadecimal},
};
use crate::plan::Target;

/// The kernel's lockdown level (kernel 6.1 security/lockdown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Off.
    None,
    /// User space may not change the kernel: no kexec_load, only signed files for kexec_file_load.
    Integrity,
    /// Nor read its secrets, /proc/kcore among them.
    Confidentiality,
}

/// The lockdown level; `None` if the kernel has no lockdown or securityfs is not mounted.
pub fn lockdown(root: &Sysroot) -> Result<Option<Lockdown>, MachineError> {
    root.parsed("sys/kernel/security/lockdown", parse_lockdown)
}

/// kernel.kexec_load_disabled, which cannot be unset again; `None` on a kernel without kexec.
pub fn kexec_load_disabled(root: &Sysroot) -> Result<Option<bool>, MachineError> {
    let value: Option<u8> = root.parsed("proc/sys/kernel/kexec_load_disabled", decimal_file)?;
    Ok(value.map(|value| value != 0))
}

/// How many loads for `target` the sysctl kernel.kexec_load_limit_{reboot,panic} still allows,
/// -1 for any number; `None` on kernels before 6.3.
pub fn load_limit(root: &Sysroot, target: Target) -> Result<Option<i32>, MachineError> {
    let file = match target {
        Target::Reboot => "proc/sys/kernel/kexec_load_limit_reboot",
        Target::Crash => "proc/sys/kernel/kexec_load_limit_panic",
    };
    root.parsed(file, decimal_file)
}

/// Whether this process has CAP_SYS_BOOT, which every kexec call needs.
pub fn has_cap_sys_boot(root: &Sysroot) -> Result<Option<bool>, MachineError> {
    root.parsed("proc/self/status", parse_cap_sys_boot)
}

/// Whether the firmware enforces Secure Boot; `None` without EFI or efivarfs.
pub fn secure_boot(root: &Sysroot) -> Result<Option<bool>, MachineError> {
    /// The variable's GUID is EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
    const SECURE_BOOT: &str =
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    // efivarfs puts four bytes of attributes before the value.
    Ok(root.read(SECURE_BOOT)?.map(|variable| variable.get(4) == Some(&1)))
}

/// All levels in one line, the one in force in brackets.
fn parse_lockdown(text: &str) -> Result<Lockdown, ParseError> {
    let level = text.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    match level {
        Some("none") => Ok(Lockdown::None),
        Some("integrity") => Ok(Lockdown::Integrity),
        Some("confidentiality") => Ok(Lockdown::Confidentiality),
        _ => Err(ParseError::new(1, "a lockdown level in brackets", text.trim())),
    }
}

fn parse_cap_sys_boot(status: &str) -> Result<bool, ParseError> {
    /// Kernel 6.1 include/uapi/linux/capability.h.
    const CAP_SYS_BOOT: u32 = 22;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|mask| hexadecimal(mask.trim()))
        .map(|mask| mask & (1 << CAP_SYS_BOOT) != 0)
        .ok_or_else(|| ParseError::new(1, "a line CapEff:", status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_in_brackets_is_in_force() {
        assert_eq!(parse_lockdown("[none] integrity confidentiality\n"), Ok(Lockdown::None));
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n"), Ok(Lockdown::Integrity));
        assert!(parse_lockdown("none integrity confidentiality\n").is_err());
        assert!(parse_lockdown("][none\n").is_err());
    }

    #[test]
    fn cap_sys_boot_is_bit_22_of_the_effective_set() {
        let status = |mask| format!("Name:\tkexec\nCapPrm:\t0000000000400000\nCapEff:\t{mask}\n");
        assert_eq!(parse_cap_sys_boot(&status("000001ffffffffff")), Ok(true));
        assert_eq!(parse_cap_sys_boot(&status("0000000000400000")), Ok(true));
        assert_eq!(parse_cap_sys_boot(&status("000001ffffbfffff")), Ok(false));
        assert!(parse_cap_sys_boot("Name:\tkexec\n").is_err());
    }
}
