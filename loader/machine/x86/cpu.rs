//! CPU features that constrain how the next kernel is entered.

use crate::{facts::x86::Cpu, machine::vmcoreinfo};

/// Tells what is active, not what the CPU could do.
///
/// The running kernel says so itself in vmcoreinfo (kernel ≥ 4.19): `pgtable_l5_enabled`, and
/// `sme_mask`, which is not 0 under SME as well as in a SEV guest. Where that cannot be read:
///
/// - `la57` in /proc/cpuinfo: the kernel clears it unless it uses 5-level paging
///   (kernel 6.1 Documentation/x86/cpuinfo.rst).
/// - `sev` is a mere capability on a host; a guest that is shown it is taken for a SEV guest.
/// - `sme` is left where the BIOS enables it; the kernel then uses it with `mem_encrypt=on`
///   (kernel 6.1 Documentation/x86/amd-memory-encryption.rst).
///
/// TDX has no such doubt: the flag `tdx_guest` is the kernel's own.
pub(super) fn cpu(cpuinfo: &str, command_line: &str, vmcoreinfo: Option<&str>) -> Cpu {
    let flags = Flags::of(cpuinfo);
    let active = |name| Some(vmcoreinfo::number(vmcoreinfo?, name)? != 0);
    Cpu {
        la57: active("pgtable_l5_enabled").unwrap_or_else(|| flags.has("la57")),
        amd_memory_encryption: active("sme_mask").unwrap_or_else(|| {
            (flags.has("sev") && flags.has("hypervisor"))
                || (flags.has("sme") && mem_encrypt_on(command_line))
        }),
        tdx_guest: flags.has("tdx_guest"),
    }
}

/// The `flags` line of the first CPU.
struct Flags<'a>(&'a str);

impl<'a> Flags<'a> {
    fn of(cpuinfo: &'a str) -> Self {
        let flags = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim_end() == "flags").then_some(value)
        });
        Self(flags.unwrap_or(""))
    }

    fn has(&self, flag: &str) -> bool {
        self.0.split_whitespace().any(|word| word == flag)
    }
}

/// The kernel obeys the last one.
fn mem_encrypt_on(command_line: &str) -> bool {
    let words = command_line.split_whitespace();
    words.filter_map(|word| word.strip_prefix("mem_encrypt=")).next_back() == Some("on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_flags(flags: &str, command_line: &str, vmcoreinfo: Option<&str>) -> Cpu {
        let cpuinfo = format!("processor\t: 0\nflags\t\t: fpu {flags} sse2\nbugs\t\t: sme sev\n");
        cpu(&cpuinfo, command_line, vmcoreinfo)
    }

    #[test]
    fn vmcoreinfo_is_believed_over_capabilities() {
        let off = "NUMBER(pgtable_l5_enabled)=0\nNUMBER(sme_mask)=0\n";
        assert_eq!(with_flags("la57 sme sev hypervisor", "", Some(off)), Cpu::default());
        let on = "NUMBER(pgtable_l5_enabled)=1\nNUMBER(sme_mask)=2251799813685248\n";
        let cpu = with_flags("", "", Some(on));
        assert!(cpu.la57 && cpu.amd_memory_encryption);
    }

    #[test]
    fn without_it_flags_are_weighed_with_what_makes_them_active() {
        let encrypted = |flags, line| with_flags(flags, line, None).amd_memory_encryption;
        assert!(!encrypted("sme sev sev_es", ""), "a host that could");
        assert!(encrypted("sme sev", "mem_encrypt=off mem_encrypt=on"));
        assert!(!encrypted("sme", "mem_encrypt=on mem_encrypt=off"));
        assert!(!encrypted("", "mem_encrypt=on"), "the BIOS did not enable it");
        assert!(encrypted("sev hypervisor", ""), "a guest");
        assert!(with_flags("la57", "", None).la57);
        assert!(with_flags("tdx_guest", "", None).tdx_guest);
    }

    #[test]
    fn other_lines_and_no_flags_at_all_mean_nothing() {
        assert_eq!(with_flags("", "", None), Cpu::default());
        assert_eq!(cpu("", "", None), Cpu::default());
    }
}
