//! What may forbid kexec: lockdown, sysctls, Secure Boot, a missing capability.

use super::{
    MachineError, ParseError, Sysroot,
    parse::{decimal_file, hexadecimal},
};
use crate::plan::{Target, command_line::words};

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

impl Lockdown {
    /// Whether it leaves only kexec_file_load.
    pub fn forbids_kexec_load(self) -> bool {
        match self {
            Self::Integrity | Self::Confidentiality => true,
            Self::None => false,
        }
    }
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

/// Whether the firmware enforces Secure Boot: by its variable, or where efivarfs is not mounted by
/// what the EFI stub of an x86 kernel found; `None` without EFI.
pub fn secure_boot(root: &Sysroot) -> Result<Option<bool>, MachineError> {
    /// The variable's GUID is EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
    const SECURE_BOOT: &str =
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    if let Some(variable) = root.read(SECURE_BOOT)? {
        // efivarfs puts four bytes of attributes before the value.
        return Ok(Some(variable.get(4) == Some(&1)));
    }
    let boot_params = root.read("sys/kernel/boot_params/data")?;
    Ok(boot_params.as_deref().and_then(stub_found_secure_boot))
}

/// `secure_boot` of `boot_params` (kernel 6.1 Documentation/x86/zero-page.rst), which is an
/// `enum efi_secureboot_mode` (include/linux/efi.h).
fn stub_found_secure_boot(boot_params: &[u8]) -> Option<bool> {
    const SECURE_BOOT: usize = 0x1ec;
    const DISABLED: u8 = 2;
    const ENABLED: u8 = 3;
    match *boot_params.get(SECURE_BOOT)? {
        ENABLED => Some(true),
        DISABLED => Some(false),
        _unset_or_unknown => None,
    }
}

/// Whether the running kernel keeps memory for its successor (`kho=on`, kernel 6.16
/// Documentation/admin-guide/mm/kho.rst), which it hands over only by kexec_file_load.
pub fn hands_memory_over(root: &Sysroot) -> Result<bool, MachineError> {
    Ok(is_kho_on(&super::command_line(root)?))
}

/// The kernel obeys the last one; what is a yes is in lib/kstrtox.c, `kstrtobool`.
fn is_kho_on(command_line: &str) -> bool {
    let values = words(command_line).filter_map(|word| word.strip_prefix("kho="));
    values.last().is_some_and(|value| {
        let mut letters = value.chars().map(|letter| letter.to_ascii_lowercase());
        match letters.next() {
            Some('y' | 't' | '1') => true,
            Some('o') => letters.next() == Some('n'),
            Some(_) | None => false,
        }
    })
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
    fn boot_params_tell_what_the_efi_stub_found() {
        let boot_params = |mode| [vec![0; 0x1ec], vec![mode]].concat();
        assert_eq!(stub_found_secure_boot(&boot_params(3)), Some(true));
        assert_eq!(stub_found_secure_boot(&boot_params(2)), Some(false));
        assert_eq!(stub_found_secure_boot(&boot_params(0)), None, "started by a BIOS");
        assert_eq!(stub_found_secure_boot(&[]), None);
    }

    #[test]
    fn the_last_kho_counts() {
        for on in ["quiet kho=on", "kho=1", "kho=off kho=Y"] {
            assert!(is_kho_on(on), "{on}");
        }
        for off in
            ["quiet", "kho=off", "kho=on kho=0", "kho_scratch=512M", "kho=", r#"x="a kho=on b""#]
        {
            assert!(!is_kho_on(off), "{off}");
        }
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
