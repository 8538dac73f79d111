//! Kernel files. A file becomes an [`Image`]: an x86 bzImage, an ELF file or a Multiboot kernel, with
//! everything that was read from it checked against the file's length.

pub mod bzimage;
pub mod format;
pub mod kind;
pub mod multiboot;
pub mod relocations;
#[cfg(test)]
pub(crate) mod testing;
pub mod uki;
#[cfg(feature = "std")]
pub mod unpack;
pub mod vmlinux;
pub mod wrapper;

pub use bzimage::{BzImage, BzImageError, SetupHeader, XloadFlags};
pub use kind::Kind;
pub use multiboot::{Multiboot, MultibootError};
pub use relocations::{Relocations, RelocationsError};
pub use uki::{Uki, UkiError};
pub use vmlinux::{Load, Vmlinux, VmlinuxError};

use core::fmt;

use format::Format;

/// A kernel file that can be loaded.
#[derive(Clone, Debug)]
pub enum Image<'a> {
    /// An x86 bzImage.
    BzImage(BzImage<'a>),
    /// An uncompressed ELF kernel.
    Vmlinux(Vmlinux<'a>),
    /// A kernel with a Multiboot header.
    Multiboot(Multiboot<'a>),
}

impl<'a> Image<'a> {
    /// Finds out what `file` is and parses it.
    ///
    /// A file that is compressed as a whole is refused with [`ImageError::Compressed`]: the caller
    /// unpacks it first.
    pub fn detect(file: &'a [u8]) -> Result<Self, ImageError> {
        if file.is_empty() {
            return Err(ImageError::Empty);
        }
        if file.len() < SHORTEST {
            return Err(ImageError::TooShort { length: file.len() });
        }
        if let Some(kind) = Kind::of(file) {
            return Self::parse(file, kind);
        }
        if let Some(format) = Format::detect(file) {
            return Err(ImageError::Compressed { format });
        }
        if file.starts_with(b"MZ") {
            return Err(ImageError::Pe { kind: PeKind::of(file) });
        }
        Err(ImageError::Unknown { first: FirstBytes::of(file) })
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::BzImage(_) => Kind::BzImage,
            Self::Vmlinux(vmlinux) if vmlinux.is_64 => Kind::Elf64,
            Self::Vmlinux(_) => Kind::Elf32,
            Self::Multiboot(image) => match image.version {
                multiboot::Version::One => Kind::Multiboot,
                multiboot::Version::Two => Kind::Multiboot2,
            },
        }
    }

    /// Parses `file` as this kind, whatever else it might be too.
    pub fn parse(file: &'a [u8], kind: Kind) -> Result<Self, ImageError> {
        Ok(match kind {
            Kind::Multiboot2 => Self::Multiboot(Multiboot::parse(file, multiboot::Version::Two)?),
            Kind::Multiboot => Self::Multiboot(Multiboot::parse(file, multiboot::Version::One)?),
            Kind::Elf64 | Kind::Elf32 => Self::Vmlinux(Vmlinux::parse(file)?),
            Kind::BzImage => Self::BzImage(BzImage::parse(file)?),
        })
    }
}

/// `length` bytes from `offset`, if they are all there.
fn slice(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}

/// No kernel file is shorter than an ELF identification; magic numbers are looked for from here.
const SHORTEST: usize = 16;

/// What a PE file without a Linux setup header seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeKind {
    /// An EFI zboot image (kernel 6.1 drivers/firmware/efi/libstub/zboot-header.S: "zimg" at 4).
    ZBoot,
    /// An arm64 or RISC-V `Image` with an EFI stub.
    OtherArchitecture,
    /// Any other PE file.
    Other,
}

impl PeKind {
    fn of(file: &[u8]) -> Self {
        // arm64 has "ARM\x64" and RISC-V "RSC\x05" at 56 (kernel 6.1
        // Documentation/arm64/booting.rst, Documentation/riscv/boot-image-header.rst).
        let magic_at_56 = file.get(56..60);
        if file.get(4..8) == Some(b"zimg") {
            Self::ZBoot
        } else if magic_at_56 == Some(b"ARM\x64") || magic_at_56 == Some(b"RSC\x05") {
            Self::OtherArchitecture
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for PeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZBoot => "an EFI zboot image",
            Self::OtherArchitecture => "an arm64 or RISC-V kernel image with an EFI stub",
            Self::Other => "a PE program without a Linux setup header",
        })
    }
}

/// The first bytes of a file, for a message: shown in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBytes([u8; 8]);

impl FirstBytes {
    fn of(file: &[u8]) -> Self {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(file) {
            *to = *from;
        }
        Self(first)
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Why a file is not a kernel that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Too short to tell what it is.
    #[error("the file has only {length} bytes: too short to be a kernel")]
    TooShort {
        /// Length of the file.
        length: usize,
    },
    /// Compressed as a whole.
    #[error("the file is compressed with {format}: unpack it first")]
    Compressed {
        /// With what.
        format: Format,
    },
    /// A PE file that is not a bzImage.
    #[error("the file is {kind}: use the kernel's bzImage (vmlinuz) or vmlinux")]
    Pe {
        /// What kind of PE file.
        kind: PeKind,
    },
    /// None of the known magic numbers.
    #[error(
        "not a known kernel format: the file begins with {first}; supported are bzImage (boot \
         protocol 2.02 or later), ELF, Multiboot 1 and 2, and each of them compressed with gzip, xz, \
         zstd, lz4, lzma, bzip2 or lzop"
    )]
    Unknown {
        /// How it begins.
        first: FirstBytes,
    },
    /// A bzImage with something wrong.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// An ELF file with something wrong.
    #[error(transparent)]
    Vmlinux(#[from] VmlinuxError),
    /// A Multiboot kernel with something wrong.
    #[error(transparent)]
    Multiboot(#[from] MultibootError),
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::image::testing::{Layout, Segment, bzimage, put, vmlinux};

    fn message(file: &[u8]) -> alloc::string::String {
        Image::detect(file).unwrap_err().to_string()
    }

    #[test]
    fn kernels_are_told_apart() {
        let elf =
            vmlinux(Layout::X86_64, &[Segment { p_paddr: 0x100_0000, data: b"code", p_memsz: 4 }]);
        assert!(matches!(Image::detect(&elf), Ok(Image::Vmlinux(_))));
        let mut stub = bzimage(b"payload");
        assert!(matches!(Image::detect(&stub), Ok(Image::BzImage(_))));
        put(&mut stub, 0, b"MZ"); // a bzImage with an EFI stub
        assert!(matches!(Image::detect(&stub), Ok(Image::BzImage(_))));
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        assert_eq!(message(b""), "the file is empty");
        assert_eq!(message(b"short"), "the file has only 5 bytes: too short to be a kernel");
        assert_eq!(
            message(b"\x1f\x8b\x08\0\0\0\0\0\0\x03 and more"),
            "the file is compressed with gzip: unpack it first"
        );
        assert!(message(b"#!/bin/sh\necho not a kernel\n").starts_with(
            "not a known kernel format: the file begins with 23 21 2f 62 69 6e 2f 73;"
        ));
    }

    #[test]
    fn pe_files_without_a_setup_header_are_named() {
        let mut pe = vec![0; 1024];
        put(&mut pe, 0, b"MZ");
        assert!(message(&pe).starts_with("the file is a PE program without"));
        put(&mut pe, 4, b"zimg");
        assert!(message(&pe).starts_with("the file is an EFI zboot image"));
        let mut arm64: Vec<u8> = vec![0; 64];
        put(&mut arm64, 0, b"MZ");
        put(&mut arm64, 56, b"ARM\x64");
        assert!(message(&arm64).starts_with("the file is an arm64 or RISC-V kernel image"));
    }

    /// Every truncation, and every byte with some bits changed: an answer, never a panic.
    #[test]
    fn damaged_files_never_panic() {
        let elf = vmlinux(
            Layout::X86_64,
            &[
                Segment { p_paddr: 0x100_0000, data: b"text", p_memsz: 0x1000 },
                Segment { p_paddr: 0x200_0000, data: b"data", p_memsz: 0x2000 },
            ],
        );
        let elf_32 = vmlinux(
            Layout { is_64: false, is_little_endian: false },
            &[Segment { p_paddr: 0x10_0000, data: b"text", p_memsz: 0x1000 }],
        );
        for file in [bzimage(b"payload"), elf, elf_32] {
            assert!(Image::detect(&file).is_ok());
            for length in 0..file.len() {
                assert!(Image::detect(&file[..length]).is_err(), "{length} bytes were enough");
            }
            let mut damaged = file.clone();
            for offset in 0..file.len() {
                for flipped in [0x01, 0x10, 0x80, 0xff] {
                    damaged[offset] = file[offset] ^ flipped;
                    drop(Image::detect(&damaged));
                }
                damaged[offset] = file[offset];
            }
        }
    }
}
