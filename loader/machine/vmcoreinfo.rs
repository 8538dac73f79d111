//! vmcoreinfo: where the note is (/sys/kernel/vmcoreinfo) and what its text says
//! (kernel 6.1 Documentation/admin-guide/kdump/vmcoreinfo.rst).

use super::{MachineError, ParseError, Sysroot, parse::hexadecimal};
use crate::facts::Note;

/// The note's address and room; `None` on a kernel without kexec.
pub fn read(root: &Sysroot) -> Result<Option<Note>, MachineError> {
    root.parsed("sys/kernel/vmcoreinfo", parse)
}

/// `address size`, both hexadecimal.
fn parse(text: &str) -> Result<Note, ParseError> {
    let text = text.trim();
    text.split_once(' ')
        .and_then(|(address, size)| {
            Some(Note { address: hexadecimal(address)?, size: hexadecimal(size)? })
        })
        .ok_or_else(|| ParseError::new(1, "`address size` in hexadecimal", text))
}

/// The value of `NUMBER(name)` in a note's text.
pub(super) fn number(text: &str, name: &str) -> Option<i64> {
    text.lines().find_map(|line| {
        let (key, value) = line.strip_prefix("NUMBER(")?.split_once(")=")?;
        if key == name { value.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_of_the_location_are_hexadecimal() {
        let note = Note { address: 0x1_00cd_0000, size: 0x1024 };
        assert_eq!(parse("0x0000000100cd0000 1024\n"), Ok(note));
        assert!(parse("0x0000000100cd0000\n").is_err());
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "OSRELEASE=6.1.0\nNUMBER(phys_base)=-10485760\nNUMBER(sme_mask)=0\n";
        assert_eq!(number(text, "phys_base"), Some(-10_485_760));
        assert_eq!(number(text, "sme_mask"), Some(0));
        assert_eq!(number(text, "mask"), None);
    }
}
