//! Pieces of the core, read through a mapping where the kernel can: reading `/proc/vmcore` maps and
//! unmaps every page by itself, one mapping does it once for all of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memmap2::MmapOptions;

/// Most bytes of the core that are looked at together.
pub const WINDOW: usize = 4 << 20;

/// The `length` bytes of `file` at `offset`: a copy, because what firmware (OPAL) runs in changes
/// from one look to the next.
pub(super) fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    // Some kernels cannot map it (s390x) or not its last, partial page.
    if copy_mapped(file, offset, &mut bytes).is_err() {
        file.read_exact_at(&mut bytes, offset)?;
    }
    Ok(bytes)
}

#[allow(unsafe_code)]
fn copy_mapped(file: &File, offset: u64, to: &mut [u8]) -> io::Result<()> {
    let mapping = MmapOptions::new().offset(offset).len(to.len()).map_raw_read_only(file)?;
    // SAFETY: `to.len()` bytes are mapped, apart from `to`, and stay mapped: the memory of a dead
    // kernel does not go away, and a saved core is not truncated. No reference to them is made, so
    // that they may change meanwhile: any byte is a valid one.
    unsafe { to.as_mut_ptr().copy_from_nonoverlapping(mapping.as_ptr(), to.len()) };
    Ok(())
}
