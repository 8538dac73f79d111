//! Dumps that were saved: directories with a dump, the dead kernel's log and a manifest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::manifest::{DMESG, FLATTENED, FLATTENED_INCOMPLETE, INCOMPLETE, MANIFEST, VMCORE};
use serde::{Deserialize, Serialize};

/// A log that is longer is cut: the largest kernel logs have some tens of MiB.
pub(crate) const MAX_LOG: usize = 256 << 20;

/// A manifest has a few kilobytes.
const MAX_MANIFEST: usize = 16 << 20;

/// A directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refuses.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{} is not a manifest of a dump", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// There is no dump.
    #[error("{} has no dump ({VMCORE}, {FLATTENED}, or incomplete) and no {MANIFEST}", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
}

/// What is read of a manifest, of any version: what one does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Manifest {
    /// Whether the dump is complete.
    #[serde(default)]
    pub complete: bool,
    /// Why it is not.
    pub failure: Option<String>,
    /// The kernel that died.
    #[serde(default)]
    pub kernel: Kernel,
    /// When it died, UTC.
    pub crash_time: Option<String>,
    /// When saving began, UTC.
    pub started: Option<String>,
    /// What happened when.
    pub timeline: Option<Timeline>,
    /// Where it was saved, as configured.
    pub target: Option<String>,
    /// The memory.
    pub vmcore: Option<Memory>,
}

/// The kernel that died.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Kernel {
    /// Its release.
    pub release: Option<String>,
    /// Its build id.
    pub build_id: Option<String>,
}

/// The steps of a capture.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Timeline {
    /// Seconds from the panic to the start of the capture kernel's clock.
    pub kernel_after_panic: Option<u64>,
    /// The steps, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Step {
    /// What was reached.
    pub step: String,
    /// When, in seconds of the capture kernel's clock.
    pub seconds: f64,
}

/// The saved memory.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Memory {
    /// Its format.
    pub format: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of it, in hexadecimal.
    pub sha256: String,
    /// Which pages were left out.
    pub level: Option<u64>,
    /// How many pages there were, were kept, and were dropped of each kind; as the writer counts.
    pub pages: Option<serde_json::Value>,
}

impl Timeline {
    /// Seconds from the panic to the last step.
    pub fn seconds(&self) -> Option<f64> {
        let before = self.kernel_after_panic.map_or(0.0, |seconds| seconds as f64);
        self.steps.last().map(|last| before + last.seconds)
    }
}

/// What is in the directory of a dump.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The directory.
    pub directory: PathBuf,
    /// The dump, complete or not; `None` if only the rest was saved.
    pub dump: Option<PathBuf>,
    /// Size of the dump in bytes.
    pub bytes: u64,
    /// Whether the dump has its final name.
    pub named_complete: bool,
    /// The manifest.
    pub manifest: Option<Manifest>,
    /// The dead kernel's log.
    pub log: Option<PathBuf>,
}

impl Saved {
    /// Looks into `directory`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        let complete = file(VMCORE).or_else(|| file(FLATTENED));
        let incomplete = file(INCOMPLETE).or_else(|| file(FLATTENED_INCOMPLETE));
        let manifest = file(MANIFEST).map(|path| read_manifest(&path)).transpose()?;
        let named_complete = complete.is_some();
        let dump = complete.or(incomplete);
        if dump.is_none() && manifest.is_none() {
            return Err(Error::Nothing { path: directory.to_owned() });
        }
        let bytes = dump.as_ref().and_then(|path| Some(fs::metadata(path).ok()?.len()));
        Ok(Self {
            directory: directory.to_owned(),
            dump,
            bytes: bytes.unwrap_or(0),
            named_complete,
            manifest,
            log: file(DMESG),
        })
    }

    /// The dumps below `parent`, by name, which is by time. What is no dump is left out.
    pub fn all(parent: &Path) -> Result<Vec<Self>, Error> {
        let failed = |source| Error::Read { path: parent.to_owned(), source };
        let entries = fs::read_dir(parent).map_err(failed)?;
        let mut directories = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            directories.extend(path.is_dir().then_some(path));
        }
        directories.sort();
        let found = directories.iter().map(|directory| Self::open(directory));
        // One that cannot be read must not hide the others.
        Ok(found.filter_map(Result::ok).collect())
    }

    /// The state in one word or sentence.
    pub fn state(&self) -> String {
        let manifest = self.manifest.as_ref();
        if let Some(failure) = manifest.and_then(|manifest| manifest.failure.as_ref()) {
            return format!("failed: {failure}");
        }
        match (&self.dump, self.named_complete, manifest.and_then(|m| m.vmcore.as_ref())) {
            (None, _, _) => "no dump".to_owned(),
            (Some(_), false, _) => "incomplete".to_owned(),
            (Some(_), true, Some(memory)) if memory.bytes != self.bytes => {
                format!("damaged: {} bytes instead of {}", self.bytes, memory.bytes)
            }
            (Some(_), true, Some(_)) => "complete".to_owned(),
            (Some(_), true, None) => "complete, without manifest".to_owned(),
        }
    }

    /// The text of the log, if there is one.
    pub fn log_text(&self) -> Result<Option<String>, Error> {
        self.log.as_ref().map(|path| read_text(path, MAX_LOG)).transpose()
    }
}

/// What a log says about the end of its kernel: the panic's words, or, if those only say that
/// there was an exception, what that was.
pub fn cause(log: &str) -> Option<&str> {
    const EXCEPTIONS: [&str; 5] = [
        "BUG: ",
        "kernel BUG at ",
        "Unable to handle kernel ",
        "general protection fault",
        "Oops: ",
    ];
    let mut exception = None;
    for line in log.lines().map(message) {
        if let Some(panic) = line.strip_prefix("Kernel panic - not syncing: ") {
            let is_vague = panic.starts_with("Fatal exception");
            return Some(exception.filter(|_| is_vague).unwrap_or(panic));
        }
        // The first line of an exception says most; one that was survived is followed by this.
        if EXCEPTIONS[..4].iter().any(|words| line.starts_with(words)) {
            exception = Some(line);
        } else if line.starts_with(EXCEPTIONS[4]) {
            exception = exception.or(Some(line));
        }
    }
    None
}

/// A line of the log without its time.
fn message(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    rest.map_or(line, |(_, message)| message)
}

fn read_manifest(path: &Path) -> Result<Manifest, Error> {
    let text = read_text(path, MAX_MANIFEST)?;
    serde_json::from_str(&text).map_err(|source| Error::Manifest { path: path.to_owned(), source })
}

fn read_text(path: &Path, limit: usize) -> Result<String, Error> {
    use std::io::Read;
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limit as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_panic_or_the_exception_behind_it() {
        let sysrq = "[    1.0] sysrq: Trigger a crash\n\
                     [    1.1] Kernel panic - not syncing: sysrq triggered crash\n[ 1.2] CPU: 0\n";
        assert_eq!(cause(sysrq), Some("sysrq triggered crash"));
        let null = "[ 1.0] BUG: scheduling while atomic: x\n\
                    [ 2.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
                    [ 2.1] Oops: 0002 [#1] PREEMPT SMP\n\
                    [ 2.2] Kernel panic - not syncing: Fatal exception\n";
        assert_eq!(
            cause(null),
            Some("BUG: kernel NULL pointer dereference, address: 0000000000000000")
        );
        assert_eq!(cause("[ 1.0] BUG: survived\n"), None);
        assert_eq!(cause("Kernel panic - not syncing: x"), Some("x"));
        assert_eq!(cause(""), None);
    }

    fn saved(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Saved, Error>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let saved = Saved::open(dir.path());
        (dir, saved)
    }

    fn state(files: &[(&str, &str)]) -> String {
        saved(files).1.unwrap().state()
    }

    const MANIFEST_TEXT: &str = r#"{"version": 2, "complete": true, "new": [1],
        "vmcore": {"bytes": 3, "sha256": "00"},
        "timeline": {"kernel_after_panic": 2, "steps": [{"step": "end", "seconds": 1.5}]}}"#;

    #[test]
    fn the_state_is_what_the_files_show() {
        assert_eq!(state(&[(VMCORE, "123"), (MANIFEST, MANIFEST_TEXT)]), "complete");
        assert_eq!(state(&[(FLATTENED, "123"), (MANIFEST, MANIFEST_TEXT)]), "complete");
        assert_eq!(state(&[(VMCORE, "123")]), "complete, without manifest");
        assert_eq!(state(&[(INCOMPLETE, "123")]), "incomplete");
        assert!(
            state(&[(VMCORE, "12"), (MANIFEST, MANIFEST_TEXT)]).starts_with("damaged: 2 bytes")
        );
        let failed = r#"{"failure": "no space"}"#;
        assert_eq!(state(&[(INCOMPLETE, "1"), (MANIFEST, failed)]), "failed: no space");
        assert_eq!(state(&[(MANIFEST, "{}")]), "no dump");
        assert!(matches!(saved(&[]).1, Err(Error::Nothing { .. })));
        assert!(matches!(saved(&[(MANIFEST, "[]")]).1, Err(Error::Manifest { .. })));
    }

    #[test]
    fn the_time_is_counted_from_the_panic() {
        let (_dir, saved) = saved(&[(MANIFEST, MANIFEST_TEXT)]);
        let timeline = saved.unwrap().manifest.unwrap().timeline.unwrap();
        assert_eq!(timeline.seconds(), Some(3.5));
    }

    #[test]
    fn what_is_no_dump_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["2026-02-01", "2026-01-01", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("2026-02-01").join(VMCORE), "x").unwrap();
        fs::write(dir.path().join("2026-01-01").join(INCOMPLETE), "x").unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let all = Saved::all(dir.path()).unwrap();
        let names: Vec<_> = all.iter().map(|saved| saved.directory.file_name().unwrap()).collect();
        assert_eq!(names, ["2026-01-01", "2026-02-01"]);
        assert!(matches!(Saved::all(&dir.path().join("none")), Err(Error::Read { .. })));
    }
}
