use std::fs;
use std::num::NonZeroUsize;

use super::*;
use crate::config::{Compression, Format, Level};
use crate::test_core::TestCore;

const OPTIONS: Options = Options {
    format: Format::Kdump,
    compression: Compression::Zlib,
    level: Level::NONE,
    threads: NonZeroUsize::MIN,
};

/// A file in place of a device, full of what was there before.
fn device(size: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device");
    fs::write(&path, vec![0xa5; size]).unwrap();
    (dir, path)
}

#[test]
fn the_dump_opens_from_the_device_itself() {
    let mut memory = vec![0; 3 << 20];
    memory[4096..8192].fill(7);
    let (_file, core) = TestCore::new("OSRELEASE=6.1\nPAGESIZE=4096\n").load(0, 0, memory).open();
    let (_dir, path) = device(16 << 20);
    let mut raw = Raw::take(path.clone(), false).unwrap();
    let saved = raw.save_dump(&core, &OPTIONS, &mut |_| ()).unwrap();
    raw.finish_dump(&core, &saved, &mut |_| ()).unwrap();
    let mut journal = Journal::default();
    journal.note("a line");
    raw.save_journal(&journal).unwrap();

    let copy = Vmcore::open(&path).unwrap();
    let mut page = vec![0; 4096];
    copy.read_pages(1, &mut page).unwrap();
    assert_eq!(page, [7; 4096]);
    let device = File::open(&path).unwrap();
    let trailer = Trailer::read(&device, 16 << 20).unwrap().unwrap();
    assert_eq!(trailer.dump_bytes, saved.bytes);
    let text = trailer.part(Part::Journal, &device).unwrap();
    assert!(text.ends_with(b"] a line\n"));
    // Another dump may take its place.
    assert!(Raw::take(path, false).is_ok());
}

#[test]
fn what_is_known_is_not_destroyed_unasked() {
    let (_dir, path) = device(16 << 20);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for (offset, signature) in [(0, &b"XFSB"[..]), (4086, b"SWAPSPACE2"), (512, b"EFI PART")] {
        file.write_all_at(signature, offset).unwrap();
        let refused = Raw::take(path.clone(), false);
        assert!(matches!(refused, Err(Error::Occupied { .. })), "{offset}");
        file.write_all_at(&[0xa5; 16], offset).unwrap();
    }
    file.write_all_at(b"XFSB", 0).unwrap();
    assert!(Raw::take(path.clone(), true).is_ok());
    // What was there is not taken for a dump or a file system any more.
    assert!(fs::read(&path).unwrap().starts_with(&[0; 4096]));
}

#[test]
fn a_device_without_room_is_refused() {
    let (_dir, path) = device(1 << 20);
    assert!(matches!(Raw::take(path, false), Err(Error::TooSmall { .. })));
}
