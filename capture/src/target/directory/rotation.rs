//! Which dumps a directory keeps.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::journal;
use crate::manifest::{self, Mark};

/// Every file that a capture makes in the directory of a dump.
const OURS: [&str; 6] = [
    manifest::VMCORE,
    manifest::INCOMPLETE,
    manifest::DMESG,
    manifest::MANIFEST_NEW,
    journal::NAME,
    // Last: what is interrupted is taken up again, because it still marks the directory.
    manifest::MANIFEST,
];

/// What became of the dumps that were too many.
#[derive(Debug, Default)]
pub(crate) struct Rotated {
    /// Names of the directories that are gone.
    pub removed: Vec<String>,
    /// Those that could not be removed, and why.
    pub failed: Vec<(PathBuf, io::Error)>,
}

/// Removes dumps below `parent` until there are `keep`, among them `newest`: those that failed
/// first, then the oldest.
///
/// Only directories with a manifest of ours count, and only our files in them are removed:
/// a directory with something else stays.
pub(crate) fn rotate(parent: &Path, newest: &Path, keep: NonZeroUsize) -> io::Result<Rotated> {
    let mut dumps = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path != newest
            && !path.is_symlink()
            && let Some(mark) = mark(&path)
        {
            dumps.push(((mark.complete, mark.started), path));
        }
    }
    dumps.sort();
    let too_many = (dumps.len() + 1).saturating_sub(keep.get());
    let mut rotated = Rotated::default();
    for (_, path) in dumps.into_iter().take(too_many) {
        match remove(&path) {
            Ok(()) => {
                let name = path.file_name().unwrap_or_default();
                rotated.removed.push(name.to_string_lossy().into_owned());
            }
            Err(error) => rotated.failed.push((path, error)),
        }
    }
    Ok(rotated)
}

fn mark(directory: &Path) -> Option<Mark> {
    let text = fs::read(directory.join(manifest::MANIFEST)).ok()?;
    Mark::read(&text)
}

fn remove(directory: &Path) -> io::Result<()> {
    let foreign = fs::read_dir(directory)?
        .any(|entry| entry.is_ok_and(|entry| !OURS.iter().any(|ours| entry.file_name() == *ours)));
    if foreign {
        let reason = "it has files that no capture made";
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, reason));
    }
    for name in OURS {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(parent: &Path, name: &str, manifest: &str) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("manifest.json"), manifest).unwrap();
        fs::write(path.join("vmcore"), "core").unwrap();
        path
    }

    fn ours(started: &str) -> String {
        format!(r#"{{"capture": "kdump-capture 0.1.0", "started": "{started}", "more": 1}}"#)
    }

    fn names(parent: &Path) -> Vec<String> {
        let names = fs::read_dir(parent).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_of_ours_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // Names do not count: a directory may have been renamed.
        dump(dir.path(), "c", &ours("2026-01-01T00:00:00Z"));
        dump(dir.path(), "b", &ours("2026-01-02T00:00:00Z"));
        // A clock that stands still: the newest looks the oldest.
        let newest = dump(dir.path(), "a", &ours("1970-01-01T00:00:00Z"));
        dump(dir.path(), "other", r#"{"capture": "something", "started": "1999"}"#);
        dump(dir.path(), "broken", "{");
        fs::create_dir(dir.path().join("empty")).unwrap();
        let rotate = |keep| rotate(dir.path(), &newest, NonZeroUsize::new(keep).unwrap()).unwrap();
        assert_eq!(rotate(3).removed, [""; 0]);
        assert_eq!(rotate(2).removed, ["c"]);
        assert_eq!(rotate(1).removed, ["b"]);
        assert_eq!(names(dir.path()), ["a", "broken", "empty", "other"]);
    }

    #[test]
    fn what_failed_goes_before_what_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let complete = |started: &str| ours(started).replacen('{', r#"{"complete": true, "#, 1);
        dump(dir.path(), "whole", &complete("2026-01-01T00:00:00Z"));
        dump(dir.path(), "failed", &ours("2026-01-02T00:00:00Z"));
        let newest = dump(dir.path(), "new", &complete("2026-01-03T00:00:00Z"));
        let keep = NonZeroUsize::new(2).unwrap();
        assert_eq!(rotate(dir.path(), &newest, keep).unwrap().removed, ["failed"]);
    }

    #[test]
    fn a_directory_with_something_else_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let newest = dump(dir.path(), "new", &ours("2026-01-02T00:00:00Z"));
        let old = dump(dir.path(), "old", &ours("2026-01-01T00:00:00Z"));
        fs::write(old.join("analysis.txt"), "notes").unwrap();
        let rotated = rotate(dir.path(), &newest, NonZeroUsize::MIN).unwrap();
        assert!(rotated.removed.is_empty());
        assert_eq!(rotated.failed[0].0, old);
        assert_eq!(names(&old), ["analysis.txt", "manifest.json", "vmcore"]);
    }
}
