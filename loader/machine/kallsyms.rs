//! /proc/kallsyms: the virtual address of the kernel's image where kcore does not tell it.

use std::io::{BufRead, BufReader};

use super::{MachineError, Sysroot, parse::hexadecimal};

const KALLSYMS: &str = "proc/kallsyms";

/// Virtual address of `_text` (or `_stext`, which is the same on x86_64); `None` if the kernel
/// has no symbols or hides their addresses (kernel.kptr_restrict).
pub fn read_text(root: &Sysroot) -> Result<Option<u64>, MachineError> {
    let Some(file) = root.open(KALLSYMS)? else { return Ok(None) };
    // The file is megabytes that the kernel formats as they are read; the image's start is early.
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|source| root.unreadable(KALLSYMS, source))?;
        if let Some(address) = text_symbol(&line) {
            return Ok((address != 0).then_some(address));
        }
    }
    Ok(None)
}

/// The address, if the line `address type name` is the symbol's.
fn text_symbol(line: &str) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let (address, _type, name) = (fields.next()?, fields.next()?, fields.next()?);
    if matches!(name, "_text" | "_stext") { hexadecimal(address) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_image_s_start_counts() {
        assert_eq!(text_symbol("ffffffffb6200000 T _stext"), Some(0xffff_ffff_b620_0000));
        assert_eq!(text_symbol("0000000000000000 T _text"), Some(0));
        assert_eq!(text_symbol("ffffffffb6200000 T startup_64"), None);
        assert_eq!(text_symbol("ffffffffb6200000"), None);
    }
}
