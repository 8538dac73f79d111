//! Hostile cores, small enough to be gone through.

use capture::vmcore::Vmcore;

use crate::HostileFile;

/// Page frames of RAM that are gone through: a core may claim 256 TiB, and going through all of it
/// takes the time that it takes.
const MOST_PAGES: u64 = 1 << 14;

/// How far the page frames of RAM reach: a dump has bits for all of them up to the last, whether there
/// is RAM before it or not.
const MOST_FRAMES: u64 = 1 << 28;

/// The core in `file`, if it can be opened and does not claim more RAM than is gone through here.
pub fn open(file: &HostileFile) -> Option<Vmcore> {
    let core = Vmcore::open(&file.path()).ok()?;
    let ram = core.headers().ram();
    let pages: u64 = ram.iter().map(|range| range.end - range.start).sum();
    let frames = ram.last().map_or(0, |range| range.end);
    (pages <= MOST_PAGES && frames <= MOST_FRAMES).then_some(core)
}
