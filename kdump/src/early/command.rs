//! The options of `kdump mkinitrd -i`, and what they stand for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{EarlyInitrd, Parts, default_base};
use crate::new_file;

/// Options of `kdump mkinitrd -i`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Make the first kernel's initrd, which loads this capture initramfs early
    #[arg(short = 'i', value_name = "CAPTURE_INITRD", requires = "capture_kernel")]
    capture_initrd: Option<PathBuf>,
    /// With -i: the capture kernel
    #[arg(short = 'v', value_name = "CAPTURE_KERNEL", requires = "capture_initrd")]
    capture_kernel: Option<PathBuf>,
    /// With -i: the initrd of kernel KVER as it is [default: the distribution's in /boot]
    #[arg(long, value_name = "FILE", requires = "capture_initrd")]
    base: Option<PathBuf>,
    /// With -i: words for the end of the capture kernel's command line, which is otherwise made
    /// from the first kernel's
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true,
        requires = "capture_initrd"
    )]
    append: String,
    /// With -i: the static kexec [default: the one beside kdump-capture]
    #[arg(long, value_name = "FILE", requires = "capture_initrd")]
    kexec: Option<PathBuf>,
}

/// What an initrd with early loading is made of.
pub struct Images<'a> {
    options: &'a Options,
    capture_initrd: &'a Path,
    capture_kernel: &'a Path,
}

/// Why no initrd was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The existing initrd is not where it is looked for.
    #[error(transparent)]
    NoBase(#[from] default_base::NotFound),
    /// It cannot be made of these files.
    #[error("cannot add early loading to {}", base.display())]
    Early {
        /// The existing initrd.
        base: PathBuf,
        /// Why.
        source: super::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] new_file::Error<super::Error>),
}

impl Options {
    /// The images that were given; `None` if this is not what is wanted.
    pub fn images(&self) -> Option<Images<'_>> {
        Some(Images {
            options: self,
            capture_initrd: self.capture_initrd.as_deref()?,
            capture_kernel: self.capture_kernel.as_deref()?,
        })
    }
}

impl Images<'_> {
    /// Makes the initrd of the kernel `release` and writes it to `output`; `program` is the static
    /// kdump-capture.
    pub fn write(&self, release: &str, program: &Path, output: &Path) -> Result<(), Error> {
        let base = match &self.options.base {
            Some(base) => base.clone(),
            None => default_base::find(Path::new("/"), release)?,
        };
        let kexec = self.options.kexec.clone().unwrap_or_else(|| program.with_file_name("kexec"));
        let existing = read("the existing initrd", &base)?;
        let initrd = EarlyInitrd::new(
            &existing,
            &Parts {
                kernel: &read("the capture kernel", self.capture_kernel)?,
                initrd: &read("the capture initramfs", self.capture_initrd)?,
                kexec: &read("the loader", &kexec)?,
                program: &read("the init program", program)?,
                append: &self.options.append,
            },
        )
        .map_err(|source| Error::Early { base, source })?;
        Ok(new_file::replace_private(output, |out| initrd.write_to(out))?)
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
}
