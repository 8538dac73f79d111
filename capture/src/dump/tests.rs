use super::*;
use crate::test_core::TestCore;

/// A core of a window and a half: a page of data, a long hole, data to an end that is no block's.
fn core() -> (tempfile::NamedTempFile, Vmcore, Vec<u8>) {
    let mut memory = vec![0; WINDOW * 3 / 2 + 100];
    memory[..BLOCK].fill(1);
    memory[WINDOW..].fill(2);
    let core = TestCore::new("OSRELEASE=6.1\n").load(0, 0, memory);
    let bytes = core.bytes();
    let (file, core) = core.open();
    (file, core, bytes)
}

#[test]
fn the_copy_has_the_content_with_holes() {
    let (_file, core, bytes) = core();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let mut seen = Vec::new();
    let copied = copy(&core, &path, &mut |done| seen.push(done)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(copied.size, bytes.len() as u64);
    assert_eq!(copied.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    assert!(copied.written < (WINDOW * 3 / 4) as u64, "{} bytes written", copied.written);
    assert_eq!(seen, [WINDOW as u64, bytes.len() as u64]);
    check(&core, &path, &copied, &mut |_| ()).unwrap();
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let (_file, core, _) = core();
    let there = crate::test_core::file(b"precious");
    assert!(matches!(copy(&core, there.path(), &mut |_| ()), Err(Error::File { .. })));
    assert_eq!(std::fs::read(there.path()).unwrap(), b"precious");
}

#[test]
fn a_damaged_copy_is_found() {
    let (_file, core, bytes) = core();
    let dir = tempfile::tempdir().unwrap();
    let copied = copy(&core, &dir.path().join("vmcore"), &mut |_| ()).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = bytes.clone();
        change(&mut copy);
        check(&core, crate::test_core::file(&copy).path(), &copied, &mut |_| ()).unwrap_err()
    };
    let content = damaged(&|copy| copy[WINDOW + 5] ^= 1);
    assert!(matches!(content, Error::Differs { offset, .. } if offset == WINDOW as u64));
    assert!(matches!(damaged(&|copy| copy.push(0)), Error::Differs { what: "the size", .. }));
    assert!(matches!(damaged(&|copy| copy.truncate(5000)), Error::Core(_)));
    // The physical address of the memory.
    let headers = damaged(&|copy| copy[64 + 56 + 24] ^= 1);
    assert!(matches!(headers, Error::Differs { what: "the ELF headers", .. }));
}

#[test]
fn blocks_of_zeros_are_left_out() {
    let runs_of = |window: &[u8]| runs(window).map(|(at, run)| (at, run.len())).collect::<Vec<_>>();
    let mut window = vec![0; 4 * BLOCK + 10];
    assert_eq!(runs_of(&window), []);
    window[BLOCK + 1] = 1;
    window[2 * BLOCK] = 1;
    assert_eq!(runs_of(&window), [(BLOCK, 2 * BLOCK)]);
    window[4 * BLOCK + 9] = 1;
    assert_eq!(runs_of(&window), [(BLOCK, 2 * BLOCK), (4 * BLOCK, 10)]);
    window[3 * BLOCK] = 1;
    assert_eq!(runs_of(&window), [(BLOCK, 3 * BLOCK + 10)]);
    assert_eq!(runs_of(&[]), []);
}

#[test]
fn the_space_of_a_real_file_system_is_enough_for_little() {
    let (_file, core, _) = core();
    let dir = tempfile::tempdir().unwrap();
    check_space(&core, dir.path(), &mut |_| ()).unwrap();
    let missing = check_space(&core, crate::test_core::nowhere(), &mut |_| ());
    assert!(matches!(missing, Err(Error::File { .. })));
}
