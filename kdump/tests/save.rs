//! `kdump save` on a machine that nobody has at hand.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use wait4::Wait4;

const TIB: u64 = 1 << 40;
/// Bytes of a ppc64 kernel's pages.
const PAGE_SIZE: usize = 65536;
const PAGE: u64 = PAGE_SIZE as u64;
const MIB: u64 = 1 << 20;
/// How much of the memory is in the core: the rest was left out of it already.
const DUMPED: u64 = 64 * MIB;
const PT_LOAD: u32 = 1;

/// A ppc64le core of 1 TiB, nothing but holes after its headers but for one page.
fn core() -> tempfile::NamedTempFile {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([4u16, 21].map(u16::to_le_bytes).concat());
    header.extend(1u32.to_le_bytes());
    header.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
    header.extend(0u32.to_le_bytes());
    header.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    for start in [0, TIB / 2] {
        header.extend([PT_LOAD, 0].map(u32::to_le_bytes).concat());
        header.extend([PAGE, start, start, DUMPED, TIB / 2, 0].map(u64::to_le_bytes).concat());
    }
    let mut core = tempfile::NamedTempFile::new().unwrap();
    core.write_all(&header).unwrap();
    core.as_file().set_len(PAGE + DUMPED).unwrap();
    // The last page of both halves: they have the same bytes.
    core.as_file().write_all_at(&[1; PAGE_SIZE], DUMPED).unwrap();
    core
}

#[test]
fn a_tebibyte_takes_no_more_memory_than_a_small_machine() {
    let core = core();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("vmcore");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kdump"))
        .args(["save", "--threads", "4"])
        .args([core.path(), &out])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ended = child.wait4().unwrap();
    assert!(ended.status.success(), "{:?}", ended.status);
    let peak = ended.rusage.maxrss;
    assert!(peak < 64 * MIB, "{peak} bytes were resident");

    let saved = capture::vmcore::Vmcore::open(&out).unwrap();
    let ram: u64 = saved.headers().ram().iter().map(|range| range.end - range.start).sum();
    assert_eq!(ram, TIB / PAGE, "the dump tells of all of it");
    assert_eq!(saved.kdump().unwrap().pages(), 2 * DUMPED / PAGE);
    let mut page = [0; PAGE_SIZE];
    saved.read_pages((TIB / 2 + DUMPED) / PAGE - 1, &mut page).unwrap();
    assert_eq!(page, [1; PAGE_SIZE]);
    assert!(File::open(&out).unwrap().metadata().unwrap().len() > TIB / PAGE / 8 * 2);
}
