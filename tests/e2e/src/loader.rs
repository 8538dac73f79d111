//! The `kexec` under test, and what it needs in the guest.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::Object;
use purgatorio::facts::Arch;

use crate::arch::{self, Profile};

/// Whose loader it is: the peer has neither our options nor our messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// This project.
    Ours,
    /// kexec-tools.
    Peer,
}

impl Maker {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
        }
    }
}

/// A loader.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Whose it is.
    pub maker: Maker,
    /// The program.
    pub program: PathBuf,
    /// Shared libraries and the dynamic linker: path in the guest, file on the host.
    pub libraries: Vec<(String, PathBuf)>,
}

/// A loader that cannot be taken into the guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: cannot read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not a program or library.
    #[error("{path}: not an ELF file")]
    Elf {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: object::Error,
    },
    /// A shared library is nowhere.
    #[error("{program} needs {library}, which is not below {root}")]
    Library {
        /// The program.
        program: PathBuf,
        /// The library.
        library: String,
        /// Where it was looked for.
        root: PathBuf,
    },
}

impl Loader {
    /// The loader at `program` for `arch`, with the shared libraries that it needs from below
    /// `root`.
    pub fn new(arch: Arch, maker: Maker, program: &Path, root: &Path) -> Result<Self, Error> {
        let Profile { multiarch, dynamic_linker, .. } = arch::profile(arch);
        let folders = [format!("lib/{multiarch}"), format!("usr/lib/{multiarch}")];
        let (_, linker_name) = dynamic_linker.rsplit_once('/').unwrap_or(("", dynamic_linker));
        let mut libraries = Vec::new();
        let mut known = BTreeSet::new();
        let mut open = needed(program)?;
        if !open.is_empty() {
            open.push(linker_name.to_owned());
        }
        while let Some(library) = open.pop() {
            if !known.insert(library.clone()) {
                continue;
            }
            let file = folders
                .iter()
                .map(|folder| root.join(folder).join(&library))
                .find(|file| file.exists())
                .ok_or_else(|| Error::Library {
                    program: program.to_owned(),
                    library: library.clone(),
                    root: root.to_owned(),
                })?;
            open.extend(needed(&file)?);
            let path = if library == linker_name {
                (*dynamic_linker).to_owned()
            } else {
                format!("lib/{multiarch}/{library}")
            };
            libraries.push((path, file));
        }
        Ok(Self { maker, program: program.to_owned(), libraries })
    }
}

/// The names of the shared libraries that `file` was linked with.
fn needed(file: &Path) -> Result<Vec<String>, Error> {
    let bytes = fs::read(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let failed = |source| Error::Elf { path: file.to_owned(), source };
    let elf = object::File::parse(&*bytes).map_err(failed)?;
    let mut names = Vec::new();
    for library in elf.import_libraries().map_err(failed)? {
        names.push(String::from_utf8_lossy(library.map_err(failed)?.name()).into_owned());
    }
    Ok(names)
}
