//! A kernel to boot, and its modules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A kernel image and the folder of its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What to call it in reports.
    pub label: String,
    /// The bzImage, or the ELF vmlinux where the architecture has no bzImage.
    pub image: PathBuf,
    /// The folder `…/lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// A kernel that is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder could not be read.
    #[error("{path}: cannot read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder lacks what a kernel package has.
    #[error("{path}: no {what} there")]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

impl Kernel {
    /// The kernel of an unpacked Debian package.
    pub fn in_package(label: &str, root: &Path) -> Result<Self, Error> {
        // x86 and POWER call it differently; a package has one of them.
        let is_image = |name: &str| name.starts_with("vmlinuz-") || name.starts_with("vmlinux-");
        let image = entry(&root.join("boot"), "vmlinuz-* or vmlinux-*", is_image)?;
        let merged = root.join("usr/lib/modules");
        let folder = if merged.is_dir() { merged } else { root.join("lib/modules") };
        let modules = entry(&folder, "modules of a kernel", |_| true)?;
        Ok(Self { label: label.into(), image, modules })
    }

    /// The kernel's release: the name of its modules' folder.
    pub fn release(&self) -> String {
        self.modules.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn entry(
    folder: &Path,
    what: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<PathBuf, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    Err(Error::Missing { path: folder.to_owned(), what })
}
