//! Where the ACPI root system description pointer is. A kernel started by kexec without EFI
//! cannot find it unless it is told (`acpi_rsdp=`, `boot_params.acpi_rsdp_addr`).

use super::efi::SystemTable;
use crate::machine::parse::hexadecimal;

/// Offset of `acpi_rsdp_addr` in `boot_params` (kernel 6.1 Documentation/x86/zero-page.rst).
const BOOT_PARAMS_RSDP: usize = 0x70;

/// The RSDP's physical address from the first source that has it: EFI's tables, the running
/// kernel's own `acpi_rsdp=`, its boot_params. A PC BIOS machine has none of them: there the next
/// kernel scans the BIOS area itself.
pub(super) fn rsdp(
    efi: Option<SystemTable>,
    command_line: &str,
    boot_params: Option<&[u8]>,
) -> Option<u64> {
    efi.and_then(|table| table.acpi_rsdp)
        .or_else(|| from_command_line(command_line))
        .or_else(|| from_boot_params(boot_params?))
        .filter(|&address| address != 0)
}

fn from_command_line(command_line: &str) -> Option<u64> {
    let mut values =
        command_line.split_whitespace().filter_map(|word| word.strip_prefix("acpi_rsdp="));
    hexadecimal(values.next_back()?)
}

fn from_boot_params(boot_params: &[u8]) -> Option<u64> {
    boot_params.get(BOOT_PARAMS_RSDP..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efi_comes_before_the_command_line_and_that_before_boot_params() {
        let efi = Some(SystemTable { acpi_rsdp: Some(0x3f77_d014), smbios: None });
        let mut boot_params = [0; 4096];
        boot_params[0x70..0x74].copy_from_slice(&[0x14, 0x50, 0x0f, 0]);
        let line = "quiet acpi_rsdp=0x1000 acpi_rsdp=0xf5a00";

        assert_eq!(rsdp(efi, line, Some(&boot_params)), Some(0x3f77_d014));
        assert_eq!(rsdp(None, line, Some(&boot_params)), Some(0xf_5a00));
        assert_eq!(rsdp(None, "quiet", Some(&boot_params)), Some(0xf_5014));
    }

    #[test]
    fn zero_and_short_sources_mean_unknown() {
        assert_eq!(rsdp(None, "", Some(&[0; 4096])), None);
        assert_eq!(rsdp(None, "", Some(&[1; 0x77])), None);
        assert_eq!(rsdp(None, "acpi_rsdp=", None), None);
    }
}
