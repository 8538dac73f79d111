//! `kdump inspect` and `kdump report` on a dump made by hand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

const PAGE: usize = 4096;
const PAGES: usize = 3;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// An ELF core of an x86_64 kernel with three pages of RAM, the registers of two CPUs, and no log.
fn core() -> Vec<u8> {
    let vmcoreinfo = "OSRELEASE=1.2.3-test\nBUILD-ID=abcd\nPAGESIZE=4096\nCRASHTIME=1709210096\n";
    let notes = [
        note("CORE", 1, &[0; 8]),
        note("CORE", 1, &[0; 8]),
        note("VMCOREINFO", 0, vmcoreinfo.as_bytes()),
    ]
    .concat();
    let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    core.extend([4u16, 62].map(u16::to_le_bytes).concat());
    core.extend(1u32.to_le_bytes());
    core.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
    core.extend(0u32.to_le_bytes());
    core.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    core.extend(program_header(PT_NOTE, 0x200, 0, notes.len()));
    core.extend(program_header(PT_LOAD, 0x1000, 0x10_0000, PAGES * PAGE));
    core.resize(0x200, 0);
    core.extend(notes);
    core.resize(0x1000, 0);
    for page in 1..=PAGES {
        core.extend([u8::try_from(page).unwrap(); PAGE]);
    }
    core
}

fn note(name: &str, n_type: u32, desc: &[u8]) -> Vec<u8> {
    let padded = |bytes: &[u8]| {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        padded
    };
    let name = [name.as_bytes(), b"\0"].concat();
    let sizes = [name.len(), desc.len()].map(|size| u32::try_from(size).unwrap());
    let header = [sizes[0], sizes[1], n_type].map(u32::to_le_bytes).concat();
    [header, padded(&name), padded(desc)].concat()
}

fn program_header(p_type: u32, offset: u64, address: u64, size: usize) -> Vec<u8> {
    let size = size as u64;
    let start = [p_type, 0].map(u32::to_le_bytes).concat();
    [start, [offset, address, address, size, size, 0].map(u64::to_le_bytes).concat()].concat()
}

/// A directory as the capture leaves it.
fn saved(dump: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sha256: String = Sha256::digest(dump).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        r#"{{"complete": true, "kernel": {{"release": "1.2.3-test"}}, "crash_time": "2024-02-29T12:34:56Z",
            "vmcore": {{"bytes": {}, "sha256": "{sha256}", "level": 31, "pages": {{"free": 7, "user": 0}}}}}}"#,
        dump.len()
    );
    fs::write(dir.path().join("vmcore"), dump).unwrap();
    fs::write(dir.path().join("manifest.json"), manifest).unwrap();
    fs::write(dir.path().join("vmcore-dmesg.txt"), "[ 1.0] Kernel panic - not syncing: test\n")
        .unwrap();
    dir
}

fn kdump(command: &str, path: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kdump")).arg(command).arg(path).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// What was checked, and whether it is good.
fn checks(output: &Output) -> Vec<(String, bool)> {
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let checks = json["checks"].as_array().unwrap().iter();
    checks.map(|c| (c["what"].as_str().unwrap().into(), c["good"].as_bool().unwrap())).collect()
}

fn is_good(output: &Output, what: &str) -> Option<bool> {
    checks(output).into_iter().find(|(name, _)| name == what).map(|(_, good)| good)
}

#[test]
fn a_dump_says_what_it_is() {
    let dir = saved(&core());
    let output = kdump("inspect", dir.path(), &[]);
    let said = text(&output);
    for part in [
        "kernel       1.2.3-test (x86_64)",
        "build id     abcd",
        "died         2024-02-29T12:34:56Z",
        "CPUs         2",
        "format       elf, compression none",
        "dump level   31",
        "pages        3 of 3 are in the dump",
        "    free: 7\n",
        "SHA-256      good",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains("user: 0"), "{said}");
    // It has no log, and a dump without log is not as it should be.
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("log          BAD: "), "{said}");
}

#[test]
fn a_changed_byte_is_noticed() {
    let mut core = core();
    let dir = saved(&core);
    assert_eq!(is_good(&kdump("inspect", dir.path(), &["--json"]), "SHA-256"), Some(true));
    core[0x1800] ^= 1;
    fs::write(dir.path().join("vmcore"), &core).unwrap();
    assert_eq!(is_good(&kdump("inspect", dir.path(), &["--json"]), "SHA-256"), Some(false));
    // The dump by its own name is the same dump.
    let file = dir.path().join("vmcore");
    assert_eq!(is_good(&kdump("inspect", &file, &["--json"]), "SHA-256"), Some(false));
}

#[test]
fn without_a_checksum_every_page_is_read() {
    let dir = saved(&core());
    assert_eq!(is_good(&kdump("inspect", dir.path(), &["--json"]), "pages"), None);
    assert_eq!(is_good(&kdump("inspect", dir.path(), &["--json", "--pages"]), "pages"), Some(true));
    fs::remove_file(dir.path().join("manifest.json")).unwrap();
    let core = dir.path().join("vmcore");
    assert_eq!(is_good(&kdump("inspect", &core, &["--json"]), "pages"), Some(true));

    let compressed = dir.path().join("compressed");
    let output = kdump("save", &core, &["-d", "0", &compressed.display().to_string()]);
    assert!(output.status.success(), "{}", text(&output));
    let output = kdump("inspect", &compressed, &["--json"]);
    assert_eq!(is_good(&output, "pages"), Some(true), "{}", text(&output));
    assert_eq!(is_good(&output, "header"), Some(true));
    let bytes = fs::read(&compressed).unwrap();
    fs::write(&compressed, &bytes[..bytes.len() - 8]).unwrap();
    assert_eq!(is_good(&kdump("inspect", &compressed, &["--json"]), "pages"), Some(false));
}

#[test]
fn damaged_dumps_end_in_an_answer() {
    let core = core();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("core");
    for length in (0..core.len()).step_by(509) {
        fs::write(&file, &core[..length]).unwrap();
        let output = kdump("inspect", &file, &[]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{length}: {}", text(&output));
    }
    assert!(text(&kdump("inspect", dir.path(), &[])).contains("has no dump (vmcore"));
}

#[test]
fn the_report_has_a_line_for_each_dump() {
    let parent = tempfile::tempdir().unwrap();
    let dir = saved(&core());
    fs::rename(dir.path(), parent.path().join("2024-02-29-123456")).unwrap();
    let failed = parent.path().join("2024-03-01-000000");
    fs::create_dir(&failed).unwrap();
    fs::write(failed.join("manifest.json"), r#"{"failure": "no space"}"#).unwrap();
    let said = text(&kdump("report", parent.path(), &[]));
    assert!(said.contains("2024-02-29T12:34:56Z  1.2.3-test"), "{said}");
    assert!(said.contains("complete") && said.contains("    test\n"), "{said}");
    assert!(said.contains("failed: no space"), "{said}");
    let json = kdump("report", parent.path(), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
}
