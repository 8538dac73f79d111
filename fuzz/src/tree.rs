//! Folders of hostile files: a machine's /proc and /sys, a kernel's modules, a saved dump.
//!
//! An input has the files one behind the other, each behind a line `@@path`. The fuzzer can change
//! contents, and a seed is made from a captured folder with `cat`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Bytes that may come out of something packed, where the caller chooses.
pub const GROWTH: usize = 64 << 20;

/// Most files of an input.
const FILES: usize = 24;

/// The folder with the files that `input` has; `allowed` are their paths, others are left out.
///
/// It is the same folder each time, without the files of the last input.
pub fn folder(input: &[u8], allowed: &[&str]) -> &'static Path {
    let folder = scratch();
    for path in allowed {
        let path = folder.join(path);
        if path.exists() {
            fs::remove_file(path).expect("it is ours");
        }
    }
    for (path, content) in files(input).take(FILES) {
        if allowed.contains(&path) {
            write(&folder.join(path), content);
        }
    }
    folder
}

/// Writes a file, and makes its folders.
pub fn write(path: &Path, content: &[u8]) {
    if fs::write(path, content).is_err() {
        fs::create_dir_all(path.parent().expect("below a folder")).expect("it is ours");
        fs::write(path, content).expect("room for an input");
    }
}

/// A folder of this process below TMPDIR: whoever runs it removes it, and had better choose one that
/// is in memory.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        folder
    })
}

fn files(input: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut rest = after(input).map(|at| &input[at..]);
    std::iter::from_fn(move || {
        let file = rest?;
        let next = after(file);
        rest = next.map(|at| &file[at..]);
        let file = next.map_or(file, |at| &file[..at - MARK.len()]);
        let line = file.iter().position(|byte| *byte == b'\n').unwrap_or(file.len());
        let path = std::str::from_utf8(&file[..line]).unwrap_or_default();
        Some((path, file.get(line + 1..).unwrap_or_default()))
    })
}

const MARK: &[u8] = b"@@";

/// Behind the first mark.
fn after(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)?;
    Some(at + MARK.len())
}
