//! Reads a dump back from the disk and compares it with what was written.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

use super::{Error, Progress, Saved, Stage};
use crate::vmcore::Vmcore;

/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// Windows of which a page is compared with what was in memory when it was read.
const SAMPLES: usize = 64;

/// What [`verify`] must find.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The parts of the file whose content is known.
    pub regions: Vec<Region>,
    /// Some pages.
    pub samples: Vec<Sample>,
}

/// A part of the file.
#[derive(Clone, Debug)]
pub(super) struct Region {
    /// Where it is.
    pub range: Range<u64>,
    /// Of its bytes.
    pub hash: u64,
}

/// A page as it was in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pfn: u64,
    hash: u64,
}

/// Takes a sample of some windows.
pub(super) struct Sampler {
    is_wanted: bool,
}

impl Sampler {
    /// Of window `number` of all.
    pub fn new(number: usize, all: usize) -> Self {
        Self { is_wanted: number.is_multiple_of(all.div_ceil(SAMPLES).max(1)) }
    }

    /// A sample of the first page that it is called with.
    pub fn sample(&mut self, pfn: u64, page: &[u8]) -> Option<Sample> {
        let is_wanted = std::mem::take(&mut self.is_wanted);
        is_wanted.then(|| Sample { pfn, hash: XxHash3_64::oneshot(page) })
    }
}

/// Reads the dump in the file at `path` back from the disk: a reader finds the memory and the notes
/// of `core` in it, as many pages as were written, and pages as they were; its bytes are those that
/// were written. Returns the file's SHA-256.
///
/// The file is read once. The dead kernel's memory is not read again: what belongs to running
/// firmware (OPAL's) changes all the time.
pub fn verify(
    core: &Vmcore,
    path: &Path,
    saved: &Saved,
    progress: &mut dyn FnMut(&Progress),
) -> Result<[u8; 32], Error> {
    let failed = |source| Error::ReadBack { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Drop it from the page cache: the question is what the disk has. A kernel without
    // CONFIG_ADVISE_SYSCALLS cannot; that is no reason to lose the dump.
    match fadvise(&file, 0, None, Advice::DontNeed) {
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let differs = |what: String| Error::Differs { path: path.to_owned(), what };
    let (hashes, sha256) = read_all(&file, saved, progress).map_err(failed)?;
    for (region, hash) in saved.written.regions.iter().zip(hashes) {
        if region.hash != hash {
            let Range { start, end } = region.range;
            return Err(differs(format!("bytes from {start:#x} to {end:#x}")));
        }
    }
    let copy = Vmcore::open(path)?;
    check_headers(core, &copy, saved).map_err(differs)?;
    let page_size = usize::try_from(core.headers().page_size).unwrap_or(usize::MAX);
    let mut page = vec![0; page_size];
    for sample in &saved.written.samples {
        copy.read_pages(sample.pfn, &mut page)?;
        if XxHash3_64::oneshot(&page) != sample.hash {
            return Err(differs(format!("the content of page frame {:#x}", sample.pfn)));
        }
    }
    Ok(sha256)
}

fn check_headers(core: &Vmcore, copy: &Vmcore, saved: &Saved) -> Result<(), String> {
    let (expected, found) = (core.headers(), copy.headers());
    let machine = |headers: &crate::vmcore::Headers| (headers.machine, headers.endianness);
    if machine(expected) != machine(found) || expected.page_size != found.page_size {
        return Err("the machine".into());
    }
    if expected.notes != found.notes || expected.info != found.info {
        return Err("the notes".into());
    }
    let Some(kdump) = copy.kdump() else { return Ok(()) };
    if expected.ram() != found.ram() {
        return Err("the bitmap of RAM".into());
    }
    if kdump.pages() != saved.pages.kept {
        let (found, expected) = (kdump.pages(), saved.pages.kept);
        return Err(format!("the bitmap of pages, which has {found} instead of {expected}"));
    }
    Ok(())
}

/// Hashes of the regions, and the SHA-256 of the whole file.
fn read_all(
    file: &File,
    saved: &Saved,
    progress: &mut dyn FnMut(&Progress),
) -> io::Result<(Vec<u64>, [u8; 32])> {
    let regions = &saved.written.regions;
    let mut hashes = vec![XxHash3_64::new(); regions.len()];
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ];
    let mut at = 0;
    while at < saved.bytes {
        let length = usize::try_from(saved.bytes - at).unwrap_or(READ).min(READ);
        let bytes = &mut buffer[..length];
        file.read_exact_at(bytes, at)?;
        digest.update(&*bytes);
        let end = at + length as u64;
        for (region, hash) in regions.iter().zip(&mut hashes) {
            let (from, to) = (region.range.start.max(at), region.range.end.min(end));
            if from < to {
                let index = |offset: u64| usize::try_from(offset - at).unwrap_or(usize::MAX);
                hash.write(&bytes[index(from)..index(to)]);
            }
        }
        at = end;
        progress(&Progress { stage: Stage::Verify, done: at, total: saved.bytes, written: at });
    }
    Ok((hashes.iter().map(Hasher::finish).collect(), digest.finalize().into()))
}
