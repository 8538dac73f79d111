//! Where a machine has its files. Everything that the operator's commands look at goes through
//! this, so that it can be a copy of a machine below a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use purgatorio::machine::Sysroot;

/// A file of the machine that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// A machine: this one, or a copy of its files.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// This machine.
    pub fn live() -> Self {
        Self::at(Path::new("/"))
    }

    /// A copy below `root`: `root/proc`, `root/sys`, `root/boot` and so on.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where `file` is; it is relative to the root: `proc/cmdline`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Where the machine's own absolute path is.
    pub fn of_absolute(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The machine's absolute path without links, as far as it is there and stays in the machine.
    pub fn resolved(&self, path: &Path) -> PathBuf {
        let root = self.root.canonicalize().ok();
        let real = self.of_absolute(path).canonicalize().ok();
        let below =
            real.zip(root).and_then(|(real, root)| Some(real.strip_prefix(root).ok()?.to_owned()));
        below.map_or_else(|| path.to_owned(), |below| Path::new("/").join(below))
    }

    /// The loader's view of it.
    pub fn sysroot(&self) -> Sysroot {
        Sysroot::at(&self.root)
    }

    /// A text file; `None` if there is none.
    pub fn text(&self, file: &str) -> Result<Option<String>, ReadError> {
        let path = self.path(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError { path, source }),
        }
    }

    /// As [`text`](Self::text), of a file that every machine has, without the final newline.
    pub fn required_text(&self, file: &str) -> Result<String, ReadError> {
        let missing =
            || ReadError { path: self.path(file), source: io::ErrorKind::NotFound.into() };
        Ok(self.text(file)?.ok_or_else(missing)?.trim_end_matches('\n').to_owned())
    }

    /// The running kernel's release.
    pub fn release(&self) -> Result<String, ReadError> {
        self.required_text("proc/sys/kernel/osrelease")
    }
}
