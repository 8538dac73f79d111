//! Kinds of kernel files, told by what they begin with.

use core::fmt;

use goblin::elf::header::{EI_CLASS, ELFCLASS64, ELFMAG};

use super::{bzimage, multiboot};

/// A kind of kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Multiboot2 header.
    Multiboot2,
    /// ELF-64.
    Elf64,
    /// A Multiboot header of version 1.
    Multiboot,
    /// ELF-32.
    Elf32,
    /// The setup header of the Linux/x86 boot protocol.
    BzImage,
}

impl Kind {
    /// Every one, in the order in which they are tried: kexec-tools' own, because a file may be of
    /// several kinds.
    pub const ALL: [Self; 5] =
        [Self::Multiboot2, Self::Elf64, Self::Multiboot, Self::Elf32, Self::BzImage];

    /// The first that `file` is of.
    pub fn of(file: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.suits(file))
    }

    /// Whether `file` has this kind's magic numbers.
    pub fn suits(self, file: &[u8]) -> bool {
        let is_elf = file.starts_with(ELFMAG);
        let is_64 = file.get(EI_CLASS) == Some(&ELFCLASS64);
        match self {
            Self::Multiboot2 => multiboot::has_header(file, multiboot::Version::Two),
            Self::Elf64 => is_elf && is_64,
            Self::Multiboot => multiboot::has_header(file, multiboot::Version::One),
            Self::Elf32 => is_elf && !is_64,
            Self::BzImage => bzimage::has_setup_header(file),
        }
    }

    /// What it is called in messages, with its article.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multiboot2 => "a Multiboot2 kernel",
            Self::Elf64 | Self::Elf32 => "an ELF vmlinux",
            Self::Multiboot => "a Multiboot kernel",
            Self::BzImage => "a bzImage",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
