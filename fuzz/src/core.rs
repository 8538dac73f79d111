//! Hostile cores, small enough to be gone through.

use capture::vmcore::Vmcore;

use crate::HostileFile;

/// Page frames of RAM that are gone through: a core may claim 256 TiB, and going through all of it
/// takes the time that it takes.
const MOST_PAGES: u64 = 1 << 14;

/// The core in `file`, if it can be opened and does not claim more RAM than is gone through here.
pub fn open(file: &HostileFile) -> Option<Vmcore> {
    let core = Vmcore::open(&file.path()).ok()?;
    let pages: u64 = core.headers().ram().iter().map(|range| range.end - range.start).sum();
    (pages <= MOST_PAGES).then_some(core)
}
