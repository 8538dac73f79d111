//! Pieces of the core, mapped where the kernel can: reading `/proc/vmcore` maps and unmaps every
//! page by itself, one mapping does it once for all of them.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use memmap2::{Mmap, MmapOptions};

/// Most bytes of the core in memory or mapped at once.
pub const WINDOW: usize = 4 << 20;

/// A piece of the core.
#[derive(Debug)]
pub enum Window {
    /// Mapped from the file.
    Mapped(Mmap),
    /// Read from the file.
    Read(Vec<u8>),
}

impl Window {
    /// The `length` bytes at `offset`.
    pub(super) fn new(file: &File, offset: u64, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if let Ok(mapped) = map(file, offset, length) {
            return Ok(Self::Mapped(mapped));
        }
        // Some kernels cannot map it (s390x) or not its last, partial page.
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Self::Read(bytes))
    }
}

impl Deref for Window {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped,
            Self::Read(bytes) => bytes,
        }
    }
}

#[allow(unsafe_code)]
fn map(file: &File, offset: u64, length: usize) -> io::Result<Mmap> {
    // SAFETY: a mapping must not change or shrink while it is borrowed. The memory of a dead
    // kernel is written by nobody: the capture kernel runs in memory of its own, outside it, and
    // /proc/vmcore cannot be truncated. A saved core is written and read by this process alone,
    // one after the other.
    unsafe { MmapOptions::new().offset(offset).len(length).map(file) }
}
