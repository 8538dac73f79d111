//! The first kernel's initrd with early loading: the existing one, byte for byte, and one archive
//! behind it.
//!
//! That archive brings the capture kernel, its initramfs, `kexec` and `kdump-capture`, and makes
//! `/init` a link to the latter, which loads the capture kernel and then hands over to the `/init`
//! of the existing initrd ([`capture::early`]). The existing `/init` is brought along, because the
//! kernel lets later archives replace what earlier ones have.

pub mod base;
pub mod command;
pub(crate) mod cpio;
pub mod default_base;

use std::io::{self, Write};

use base::{Base, OriginalInit};
use capture::early::{APPEND, INITRD, KERNEL, KEXEC, KMSG, ORIGINAL_INIT, PROGRAM};
use purgatorio::image::{Image, ImageError};

use crate::initramfs::{self, Device, Initramfs};
use crate::mkinitrd::{self, check_static};

/// What the archive brings.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The capture kernel: bzImage or vmlinux.
    pub kernel: &'a [u8],
    /// Its initramfs.
    pub initrd: &'a [u8],
    /// The static `kexec`.
    pub kexec: &'a [u8],
    /// The static `kdump-capture`.
    pub program: &'a [u8],
    /// Words for the end of the capture kernel's command line.
    pub append: &'a str,
}

/// Why an initrd cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The existing initrd cannot be understood.
    #[error("the existing initrd cannot be used")]
    Base(#[source] base::Error),
    /// The capture kernel is none.
    #[error("the capture kernel cannot be used")]
    Kernel(#[source] ImageError),
    /// The capture initramfs is none.
    #[error("the capture initramfs cannot be used")]
    CaptureInitrd(#[source] base::Error),
    /// A program would not run in an initrd.
    #[error("{program} cannot be used")]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        source: mkinitrd::Error,
    },
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] initramfs::Error),
}

/// An initrd that loads a capture kernel before anything else.
#[derive(Debug)]
pub struct EarlyInitrd<'a> {
    base: Base<'a>,
    archive: Initramfs,
}

impl<'a> EarlyInitrd<'a> {
    /// Adds `parts` to the initrd `existing`. If that has early loading already, it is replaced.
    pub fn new(existing: &'a [u8], parts: &Parts<'_>) -> Result<Self, Error> {
        // Found out at boot, each of these would cost the capture kernel.
        check_kernel(parts.kernel)?;
        base::read(parts.initrd).map_err(Error::CaptureInitrd)?;
        for (program, file) in [("kexec", parts.kexec), ("kdump-capture", parts.program)] {
            check_static(file).map_err(|source| Error::Program { program, source })?;
        }
        let base = base::read(existing).map_err(Error::Base)?;
        let archive = archive(&base.init, parts);
        Ok(Self { base, archive })
    }

    /// Writes it.
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), Error> {
        let write = |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(self.base.bytes)?;
            out.write_all(&vec![0; self.base.padding()])
        };
        write(out).map_err(initramfs::Error::Write)?;
        self.archive.write_to(out)?;
        Ok(())
    }
}

fn check_kernel(kernel: &[u8]) -> Result<(), Error> {
    match Image::detect(kernel) {
        // The loader unpacks it.
        Ok(_) | Err(ImageError::Compressed { .. }) => Ok(()),
        Err(error) => Err(Error::Kernel(error)),
    }
}

fn archive(init: &OriginalInit, parts: &Parts<'_>) -> Initramfs {
    let mut archive = Initramfs::new();
    archive
        .file(KERNEL, 0o600, parts.kernel)
        .file(INITRD, 0o600, parts.initrd)
        .file(KEXEC, 0o700, parts.kexec)
        .file(PROGRAM, 0o700, parts.program)
        .file(APPEND, 0o600, parts.append)
        // The kernel's log, for reports: nothing has made device nodes yet.
        .node(KMSG, 0o600, Device::Character, 1, 11);
    match init {
        OriginalInit::File { mode, data } => archive.file(ORIGINAL_INIT, *mode, data.as_slice()),
        OriginalInit::Link { target } => archive.symlink(ORIGINAL_INIT, target),
    };
    // A link, because the kernel makes a new one in place of whatever is there; a file's content
    // it would write into the existing one, which may have other names. And last in the archive:
    // where the memory does not suffice for all of it, the existing /init remains.
    archive.symlink("init", PROGRAM);
    archive
}

#[cfg(test)]
mod tests;
