//! The first kernel's initramfs: the guest program, its script, the loader, and what it loads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use e2e_guest::{SCRIPT, Script};
use kdump::initramfs::{self, Initramfs};

use crate::cell::LOADER;
use crate::loader::Loader;

/// An initramfs that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive has a fault.
    #[error(transparent)]
    Archive(#[from] initramfs::Error),
    /// The script cannot be written down.
    #[error("the guest's script")]
    Script(#[from] serde_json::Error),
}

/// A file for the guest.
#[derive(Clone, Debug)]
pub struct GuestFile {
    /// Its path in the guest.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its content.
    pub content: Content,
}

/// Where a guest file's content comes from.
#[derive(Clone, Debug)]
pub enum Content {
    /// A file of the host.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl GuestFile {
    /// The host's file `from` as `path`.
    pub fn copy(path: &str, from: &Path) -> Self {
        Self { path: path.into(), mode: 0o644, content: Content::File(from.to_owned()) }
    }

    /// The host's program `from` as `path`.
    pub fn program(path: &str, from: &Path) -> Self {
        Self { mode: 0o755, ..Self::copy(path, from) }
    }

    /// A file with `bytes` as `path`.
    pub fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o644, content: Content::Bytes(bytes.into()) }
    }
}

/// Writes an initramfs to `out`: `guest_program` as `/init`, `script`, the loader if there is one,
/// and `files`.
pub fn build(
    out: &Path,
    guest_program: &Path,
    script: &Script,
    loader: Option<&Loader>,
    files: &[GuestFile],
) -> Result<(), Error> {
    let mut archive = Initramfs::new();
    archive.dir("proc").dir("sys").dir("dev").dir("tmp");
    archive.file("init", 0o755, read(guest_program)?);
    archive.file(SCRIPT, 0o644, serde_json::to_vec(script)?);
    if let Some(loader) = loader {
        archive.file(LOADER, 0o755, read(&loader.program)?);
        for (path, library) in &loader.libraries {
            archive.file(path, 0o755, read(library)?);
        }
    }
    for file in files {
        let bytes = match &file.content {
            Content::File(from) => read(from)?,
            Content::Bytes(bytes) => bytes.clone(),
        };
        archive.file(&file.path, file.mode, bytes);
    }
    let failed = |source| Error::File { path: out.to_owned(), source };
    let mut file = BufWriter::new(File::create(out).map_err(failed)?);
    archive.write_to(&mut file)?;
    file.flush().map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
