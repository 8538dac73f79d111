//! The page filter on a hostile core: it has a verdict on each page of RAM.
#![no_main]

use capture::filter::{Level, PageFilter, PageKind};
use fuzz::{HostileFile, core};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (level, file) = input;
    let file = HostileFile::new(file);
    let Some(core) = core::open(&file) else { return };
    let level = Level::try_from(level % 32).expect("below 32");
    let filter = PageFilter::new(&core, level);
    for range in core.headers().ram() {
        let mut kinds =
            vec![PageKind::Free; usize::try_from(range.end - range.start).expect("few")];
        filter.classify(range.start, &mut kinds);
    }
    let _ = filter.notes();
});
