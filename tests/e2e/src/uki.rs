//! Unified kernel images, made as any user makes them: sections added by objcopy to the stub that
//! Debian has for EFI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// What goes into one.
pub struct Parts<'p> {
    /// The stub: a PE program.
    pub stub: &'p Path,
    /// The kernel's file.
    pub linux: &'p Path,
    /// The initial RAM disk.
    pub initrd: &'p Path,
    /// The command line.
    pub command_line: &'p str,
}

/// An image that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written or read.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// objcopy failed.
    #[error(transparent)]
    Objcopy(#[from] process::Error),
}

/// Makes `out`; what else is needed is written beside it.
pub fn build(parts: &Parts<'_>, out: &Path) -> Result<(), Error> {
    let write = |name: &str, text: String| {
        let path = out.with_extension(name);
        let written = fs::write(&path, text);
        written.map_err(|source| Error::File { path: path.clone(), source })?;
        Ok::<_, Error>(path)
    };
    let osrel = write("osrel", "ID=test\nPRETTY_NAME=\"A test's system\"\n".into())?;
    let cmdline = write("cmdline", format!("{}\n", parts.command_line))?;
    // Behind the stub's own sections, and behind each other.
    let mut address: u64 = 1 << 20;
    let mut command = Command::new("objcopy");
    let sections = [
        (".osrel", &*osrel),
        (".cmdline", &cmdline),
        (".initrd", parts.initrd),
        (".linux", parts.linux),
    ];
    for (name, file) in sections {
        let length = fs::metadata(file)
            .map_err(|source| Error::File { path: file.to_owned(), source })?
            .len();
        command.arg(format!("--add-section={name}={}", file.display()));
        command.arg(format!("--change-section-vma={name}={address:#x}"));
        address += length.next_multiple_of(1 << 20);
    }
    process::output(command.arg(parts.stub).arg(out))?;
    Ok(())
}
