//! VMCOREINFO: what the dead kernel said about itself, as `KEY=VALUE` lines
//! (Documentation/admin-guide/kdump/vmcoreinfo.rst, Linux 6.1).

use std::collections::BTreeMap;

use crate::address::Virtual;

/// Bytes of a note that are read: no kernel has more than a page (`VMCOREINFO_BYTES` of
/// include/linux/crash_core.h, Linux 6.1), and each entry costs memory.
const MAX_SIZE: usize = 1 << 20;

/// Why an entry cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InfoError {
    /// The kernel did not export it.
    #[error("VMCOREINFO of the dead kernel has no {key}")]
    Missing {
        /// The entry, as `KIND(name)`.
        key: String,
    },
    /// It is not a number.
    #[error("VMCOREINFO of the dead kernel has {key}={value}, which is not a number")]
    Malformed {
        /// The entry.
        key: String,
        /// What it has.
        value: String,
    },
    /// It is not a value that a kernel has there.
    #[error("VMCOREINFO of the dead kernel has {key}={value}, which cannot be")]
    OutOfRange {
        /// The entry.
        key: String,
        /// What it has.
        value: u64,
    },
}

/// The entries of a VMCOREINFO note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmcoreInfo {
    entries: BTreeMap<String, String>,
}

impl VmcoreInfo {
    /// Reads the note's text. Lines without `=` are left out.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_SIZE)]);
        let lines = text.lines().filter_map(|line| line.trim_end_matches('\0').split_once('='));
        Self { entries: lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    /// An entry as it stands there: `OSRELEASE`, `BUILD-ID`, `CRASHTIME`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// `SYMBOL(name)`: its virtual address, with the relocation of KASLR.
    pub fn symbol(&self, name: &str) -> Result<Virtual, InfoError> {
        let key = format!("SYMBOL({name})");
        let value = self.required(&key)?;
        match u64::from_str_radix(value, 16) {
            Ok(address) => Ok(Virtual(address)),
            Err(_) => Err(InfoError::Malformed { value: value.to_owned(), key }),
        }
    }

    /// Whether the kernel exported `SYMBOL(name)`.
    pub fn has_symbol(&self, name: &str) -> bool {
        self.entries.contains_key(&format!("SYMBOL({name})"))
    }

    /// Whether the kernel exported `NUMBER(name)`.
    pub fn has_number(&self, name: &str) -> bool {
        self.entries.contains_key(&format!("NUMBER({name})"))
    }

    /// `OFFSET(structure.member)` in bytes.
    pub fn offset(&self, member: &str) -> Result<u64, InfoError> {
        self.decimal(format!("OFFSET({member})"))
    }

    /// `SIZE(structure)` in bytes.
    pub fn size(&self, structure: &str) -> Result<u64, InfoError> {
        self.decimal(format!("SIZE({structure})"))
    }

    /// `NUMBER(name)`.
    pub fn number(&self, name: &str) -> Result<i64, InfoError> {
        self.decimal(format!("NUMBER({name})"))
    }

    /// `LENGTH(array)` in elements.
    pub fn length(&self, array: &str) -> Result<u64, InfoError> {
        self.decimal(format!("LENGTH({array})"))
    }

    /// `PAGESIZE`: the size of a page in bytes, a power of two from 4 KiB to 256 KiB.
    pub fn page_size(&self) -> Result<u64, InfoError> {
        let size: u64 = self.decimal("PAGESIZE".to_owned())?;
        if size.is_power_of_two() && (0x1000..=0x4_0000).contains(&size) {
            return Ok(size);
        }
        Err(InfoError::OutOfRange { key: "PAGESIZE".to_owned(), value: size })
    }

    fn decimal<T: std::str::FromStr>(&self, key: String) -> Result<T, InfoError> {
        let value = self.required(&key)?;
        value.parse().map_err(|_| InfoError::Malformed { value: value.to_owned(), key })
    }

    fn required(&self, key: &str) -> Result<&str, InfoError> {
        self.text(key).ok_or_else(|| InfoError::Missing { key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_end_do_not_fill_the_memory() {
        let text: String = (0..1 << 18).map(|number| format!("{number:x}=\n")).collect();
        let info = VmcoreInfo::parse(text.as_bytes());
        assert!(text.len() > MAX_SIZE && info.entries.len() < MAX_SIZE / 3);
        assert_eq!(info.text("0"), Some(""));
        assert_eq!(info.text("3ffff"), None);
    }

    #[test]
    fn entries_have_the_numbers_of_their_kind() {
        let info = VmcoreInfo::parse(
            b"OSRELEASE=6.1.0\nSYMBOL(prb)=ffffffff82a0\nOFFSET(a.b)=16\nSIZE(a)=24\n\
              NUMBER(phys_base)=-1048576\nnoise\nSIZE(bad)=x\n\0",
        );
        assert_eq!(info.text("OSRELEASE"), Some("6.1.0"));
        assert_eq!(info.symbol("prb"), Ok(Virtual(0xffff_ffff_82a0)));
        assert_eq!(info.offset("a.b"), Ok(16));
        assert_eq!(info.size("a"), Ok(24));
        assert_eq!(info.number("phys_base"), Ok(-0x10_0000));
        assert!(matches!(info.size("bad"), Err(InfoError::Malformed { .. })));
        assert!(
            matches!(info.offset("a.c"), Err(InfoError::Missing { key }) if key == "OFFSET(a.c)")
        );
    }
}
