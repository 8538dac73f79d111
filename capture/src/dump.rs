//! Copies the core to a file and checks the copy.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statvfs};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::vmcore::{self, Vmcore, WINDOW};

/// The unit of holes: at least the block of every file system that is written to.
const BLOCK: usize = 4096;

/// Bytes that are looked at together: a loop over them without exits compiles to vector
/// instructions, and the exits between the pieces make an early end possible.
const PIECE: usize = 256;

/// How many windows of the copy are read back at most.
const CHECKED_WINDOWS: u64 = 16;

/// Why the dump was not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The core cannot be read.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The file cannot be written or read back.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file system has too little space, seen before writing.
    #[error(
        "the target has {available} bytes free and the dump needs {needed} even without its pages \
         of zeros: free {} bytes, or name a larger target", needed - available
    )]
    Space {
        /// Free bytes.
        available: u64,
        /// Bytes of the dump without holes.
        needed: u64,
    },
    /// The copy is not what was written.
    #[error("{} differs from what was written to it: {what} at offset {offset:#x}", path.display())]
    Differs {
        /// The copy.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Where, in bytes from the start of the file; of content, the window that it is in.
        offset: u64,
    },
}

/// A finished copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Size of the file in bytes.
    pub size: u64,
    /// Bytes that were written; the rest are holes.
    pub written: u64,
    /// SHA-256 of the file's content.
    pub sha256: [u8; 32],
    /// Hashes of the windows that [`check`] reads back, in order. Memory is not read again for it:
    /// what belongs to running firmware (OPAL's) changes all the time.
    samples: Vec<u64>,
}

/// Fails if the core does not fit on the file system of `directory`.
///
/// Pages of zeros become holes. They are counted only when the free space is less than the core,
/// because counting means to read all of it.
pub fn check_space(
    core: &Vmcore,
    directory: &Path,
    on_window: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let status = statvfs(directory).map_err(|errno| Error::File {
        what: "find the free space of",
        path: directory.to_owned(),
        source: errno.into(),
    })?;
    // Free blocks, not only those for everybody: this is the superuser.
    let available = status.f_bfree.saturating_mul(status.f_frsize);
    if core.headers().size <= available {
        return Ok(());
    }
    let mut needed = 0u64;
    for_each_window(core, |offset, window| {
        needed += runs(window).map(|(_, run)| run.len() as u64).sum::<u64>();
        on_window(offset);
        Ok(())
    })?;
    if needed <= available { Ok(()) } else { Err(Error::Space { available, needed }) }
}

/// Writes the core to a new file at `path`, with holes for zeros, until it is on the disk.
///
/// `on_window` is called with the number of bytes done, for each window.
pub fn copy(core: &Vmcore, path: &Path, on_window: &mut dyn FnMut(u64)) -> Result<Copied, Error> {
    let failed = |what| move |source| Error::File { what, path: path.to_owned(), source };
    let file = File::create_new(path).map_err(failed("create"))?;
    let size = core.headers().size;
    let mut digest = Sha256::new();
    let mut written = 0u64;
    let mut samples = Vec::new();
    for_each_window(core, |offset, window| {
        for (at, run) in runs(window) {
            file.write_all_at(run, offset + at as u64).map_err(failed("write"))?;
            written += run.len() as u64;
        }
        digest.update(window);
        if offset.is_multiple_of(sampled_every(size)) {
            samples.push(hash(window));
        }
        on_window(offset + window.len() as u64);
        Ok(())
    })?;
    file.set_len(size).map_err(failed("set the length of"))?;
    file.sync_all().map_err(failed("sync"))?;
    Ok(Copied { size, written, sha256: digest.finalize().into(), samples })
}

/// Writes the core to `out`, with all its zeros, from its first byte to its last.
pub fn send(
    core: &Vmcore,
    out: &mut dyn Write,
    on_window: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let size = core.headers().size;
    let mut digest = Sha256::new();
    for_each_window(core, |offset, window| {
        out.write_all(window).map_err(|source| Error::File {
            what: "send",
            path: vmcore::PATH.into(),
            source,
        })?;
        digest.update(window);
        on_window(offset + window.len() as u64);
        Ok(())
    })?;
    Ok(Copied { size, written: size, sha256: digest.finalize().into(), samples: Vec::new() })
}

/// Reads the copy back from the disk: its headers are those of the core, and up to 16 windows,
/// spread evenly, have the bytes that were written.
pub fn check(
    core: &Vmcore,
    path: &Path,
    copied: &Copied,
    on_window: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let failed = |source| Error::File { what: "read back", path: path.to_owned(), source };
    let differs = |what, offset| Error::Differs { path: path.to_owned(), what, offset };
    let file = File::open(path).map_err(failed)?;
    // Drop it from the page cache: the question is what the disk has. A kernel without
    // CONFIG_ADVISE_SYSCALLS cannot; that is no reason to lose the dump.
    match fadvise(&file, 0, None, Advice::DontNeed) {
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let copy = Vmcore::open(path)?;
    if copy.headers().size != core.headers().size {
        return Err(differs("the size", copy.headers().size));
    }
    if copy.headers() != core.headers() {
        return Err(differs("the ELF headers", 0));
    }
    let offsets = (0..copied.size).step_by(WINDOW);
    let sampled = offsets.filter(|offset| offset.is_multiple_of(sampled_every(copied.size)));
    for (offset, expected) in sampled.zip(&copied.samples) {
        if hash(&copy.window(offset)?) != *expected {
            return Err(differs("the content", offset));
        }
        on_window(offset);
    }
    Ok(())
}

/// Distance between the windows that are read back.
fn sampled_every(size: u64) -> u64 {
    let windows = size.div_ceil(WINDOW as u64);
    windows.div_ceil(CHECKED_WINDOWS).max(1) * WINDOW as u64
}

/// Tells a disk's mistakes from what was written, at a fraction of what SHA-256 costs.
fn hash(window: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(window);
    hasher.finish()
}

fn for_each_window(
    core: &Vmcore,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    for offset in (0..core.headers().size).step_by(WINDOW) {
        each(offset, &core.window(offset)?)?;
    }
    Ok(())
}

/// The parts of a window that are to be written: its blocks without those that are all zero,
/// joined where they touch. With each comes its offset in the window.
fn runs(window: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut blocks = window.chunks(BLOCK).enumerate().peekable();
    std::iter::from_fn(move || {
        let (first, _) = blocks.find(|(_, block)| !is_zero(block))?;
        let mut end = first + 1;
        while blocks.next_if(|(_, block)| !is_zero(block)).is_some() {
            end += 1;
        }
        let (start, end) = (first * BLOCK, (end * BLOCK).min(window.len()));
        Some((start, &window[start..end]))
    })
}

fn is_zero(block: &[u8]) -> bool {
    block.chunks(PIECE).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests;
