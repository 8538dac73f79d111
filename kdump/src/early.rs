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
use object::Endianness;
use object::elf::{EM_386, EM_X86_64, Machine};

use purgatorio::image::{Image, Kind, XloadFlags};

use crate::initramfs::{self, Device, Initramfs};
use crate::kernel_image::{self, with_image};
use crate::mkinitrd::{self, MachineName, check_static, machine_of};

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
    Kernel(#[source] kernel_image::Error),
    /// The capture kernel is another kind of program.
    #[error("the capture kernel is {kind}; give a bzImage or a vmlinux of Linux")]
    NotLinux {
        /// What it is.
        kind: Kind,
    },
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
    /// What is to work together is for different machines.
    #[error(
        "{program} is for {found}, and the capture kernel for {kernel}: give those of one machine"
    )]
    OtherMachine {
        /// The program.
        program: &'static str,
        /// What it is for.
        found: MachineName,
        /// What the capture kernel is for.
        kernel: MachineName,
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
        let kernel = with_image(parts.kernel, kernel_machine).map_err(Error::Kernel)??;
        let initrd = base::read(parts.initrd).map_err(Error::CaptureInitrd)?;
        // Somebody else's may be a script, or a link.
        if let OriginalInit::File { data, .. } = &initrd.init
            && let Ok(found) = machine_of(data)
            && !found.runs_on(kernel)
        {
            let program = "the /init of the capture initramfs";
            return Err(Error::OtherMachine { program, found, kernel });
        }
        for (program, file) in [("kexec", parts.kexec), ("kdump-capture", parts.program)] {
            let failed = |source| Error::Program { program, source };
            check_static(file).map_err(failed)?;
            let found = machine_of(file).map_err(failed)?;
            // They run on the first kernel: a 64-bit one may have a 32-bit capture kernel.
            if !(found.runs_on(kernel) || kernel.runs_on(found)) {
                return Err(Error::OtherMachine { program, found, kernel });
            }
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

/// The machine of a kernel.
fn kernel_machine(image: &Image<'_>) -> Result<MachineName, Error> {
    let machine = |machine: u16, is_64, little| {
        let endianness = if little { Endianness::Little } else { Endianness::Big };
        MachineName::new(Machine(machine), is_64, endianness)
    };
    Ok(match image {
        Image::BzImage(image) if image.header.xloadflags.contains(XloadFlags::KERNEL_64) => {
            machine(EM_X86_64.0, true, true)
        }
        Image::BzImage(_) => machine(EM_386.0, false, true),
        Image::Vmlinux(image) => machine(image.machine, image.is_64, image.is_little_endian),
        Image::Multiboot(_) => return Err(Error::NotLinux { kind: image.kind() }),
    })
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
