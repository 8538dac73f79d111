//! /sys/firmware/efi: what EFI left for the operating system
//! (kernel 6.1 Documentation/ABI/testing/sysfs-firmware-efi and -efi-runtime-map).

use crate::{
    facts::x86::{Efi, EfiMapping},
    machine::{
        MachineError, ParseError, Sysroot,
        parse::{hexadecimal, hexadecimal_file},
    },
};

const EFI: &str = "sys/firmware/efi";

/// What the next kernel needs for runtime services; `None` if the machine was not started by EFI
/// or its kernel keeps no runtime map (`noefi`, `efi=noruntime`).
pub fn read(root: &Sysroot) -> Result<Option<Efi>, MachineError> {
    let runtime_map = runtime_map(root)?;
    let address = |name| root.parsed(&format!("{EFI}/{name}"), hexadecimal_file);
    let (Some(fw_vendor), Some(config_table)) = (address("fw_vendor")?, address("config_table")?)
    else {
        return Ok(None);
    };
    if runtime_map.is_empty() {
        return Ok(None);
    }
    Ok(Some(Efi {
        fw_vendor,
        runtime: address("runtime")?.unwrap_or(0),
        config_table,
        smbios: system_table(root)?.and_then(|table| table.smbios).unwrap_or(0),
        runtime_map,
    }))
}

/// Addresses of the tables that /sys/firmware/efi/systab lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SystemTable {
    /// `ACPI20`, or else `ACPI`: the RSDP.
    pub(super) acpi_rsdp: Option<u64>,
    /// `SMBIOS`: the 32-bit entry point, the one that `efi_setup_data` carries on.
    pub(super) smbios: Option<u64>,
}

pub(super) fn system_table(root: &Sysroot) -> Result<Option<SystemTable>, MachineError> {
    root.parsed(&format!("{EFI}/systab"), parse_system_table)
}

/// Lines `NAME=0xaddress`.
fn parse_system_table(text: &str) -> Result<SystemTable, ParseError> {
    let (mut acpi, mut acpi_20, mut smbios) = (None, None, None);
    for (index, line) in text.lines().enumerate() {
        let wanted = match line.split_once('=') {
            Some(("ACPI20", value)) => (&mut acpi_20, value),
            Some(("ACPI", value)) => (&mut acpi, value),
            Some(("SMBIOS", value)) => (&mut smbios, value),
            _other_table => continue,
        };
        *wanted.0 =
            Some(hexadecimal(wanted.1).ok_or_else(|| {
                ParseError::new(index.saturating_add(1), "`NAME=0xaddress`", line)
            })?);
    }
    Ok(SystemTable { acpi_rsdp: acpi_20.or(acpi), smbios })
}

fn runtime_map(root: &Sysroot) -> Result<Vec<EfiMapping>, MachineError> {
    let directory = format!("{EFI}/runtime-map");
    let mut map = Vec::new();
    for number in root.numbered(&directory, "")? {
        let file = |name| format!("{directory}/{number}/{name}");
        let value = |name| root.required(&file(name), hexadecimal_file);
        map.push(EfiMapping {
            kind: root.required(&file("type"), memory_type)?,
            phys: value("phys_addr")?,
            virt: value("virt_addr")?,
            pages: value("num_pages")?,
            attribute: value("attribute")?,
        });
    }
    Ok(map)
}

/// An EFI memory type, which has 32 bits.
fn memory_type(text: &str) -> Result<u32, ParseError> {
    u32::try_from(hexadecimal_file(text)?)
        .map_err(|_| ParseError::new(1, "a 32-bit hexadecimal number", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_acpi_table_and_the_32_bit_smbios_entry_are_taken() {
        let table = parse_system_table("ACPI=0x100\nACPI20=0x200\nSMBIOS3=0x300\nSMBIOS=0x400\n");
        assert_eq!(table, Ok(SystemTable { acpi_rsdp: Some(0x200), smbios: Some(0x400) }));
        assert_eq!(parse_system_table("MPS=0x1\n"), Ok(SystemTable::default()));
        assert!(parse_system_table("ACPI=here\n").is_err());
    }
}
