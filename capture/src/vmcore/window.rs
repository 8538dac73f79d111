//! Pieces of `/proc/vmcore`, read through a mapping where the kernel can: reading it maps and
//! unmaps every page by itself, one mapping does it once for all of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::MmapOptions;

/// What is shorter is read: it is in one page, or in two.
const MAPPED_FROM: usize = 8192;

/// Copies the bytes of `file` at `offset`, because what firmware (OPAL) runs in changes from one
/// look to the next.
pub(super) fn read(file: &File, offset: u64, to: &mut [u8]) -> io::Result<()> {
    // Some kernels cannot map it (s390x) or not its last, partial page.
    if to.len() >= MAPPED_FROM && copy_mapped(file, offset, to).is_ok() {
        return Ok(());
    }
    file.read_exact_at(to, offset)
}

#[allow(unsafe_code)]
fn copy_mapped(file: &File, offset: u64, to: &mut [u8]) -> io::Result<()> {
    let mapping = MmapOptions::new().offset(offset).len(to.len()).map_raw_read_only(file)?;
    // SAFETY: `to.len()` bytes are mapped, apart from `to`, and stay mapped: the memory of a dead
    // kernel does not go away. No reference to them is made, so that they may change meanwhile:
    // any byte is a valid one.
    unsafe { to.as_mut_ptr().copy_from_nonoverlapping(mapping.as_ptr(), to.len()) };
    Ok(())
}
