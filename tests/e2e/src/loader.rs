//! The `kexec` under test, and what it needs in the guest.

use std::path::{Path, PathBuf};

use kdump::libraries;
use purgatorio::facts::Arch;

use crate::arch;

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

impl Loader {
    /// The loader at `program` for `arch`, with the shared libraries that it needs from below
    /// `root`.
    pub fn new(
        arch: Arch,
        maker: Maker,
        program: &Path,
        root: &Path,
    ) -> Result<Self, libraries::Error> {
        let multiarch = arch::profile(arch).multiarch;
        let mut libraries = Vec::new();
        if let Some(found) = libraries::of_program(program, root)? {
            libraries.push(found.loader);
            let files = found.files.into_iter();
            libraries.extend(files.map(|(name, file)| (format!("lib/{multiarch}/{name}"), file)));
        }
        Ok(Self { maker, program: program.to_owned(), libraries })
    }
}
