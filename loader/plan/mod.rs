//! Planning: an image and the machine's facts become segments. Pure: no file, no system call.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use crate::range::PhysRange;

/// What the kernel that is loaded is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The next kernel of an orderly reboot (`-l`).
    Reboot,
    /// The capture kernel that starts on a panic (`-p`), inside the reserved memory.
    Crash,
}

/// What a segment holds. The names are the ones in messages of the loader and of purgatory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The kernel, or one PT_LOAD of it.
    Kernel,
    /// The initial RAM disk.
    Initrd,
    /// x86 `boot_params`, with setup_data behind it.
    BootParams,
    /// The command line.
    CommandLine,
    /// ELF core headers that describe the dead kernel's memory.
    Elfcorehdr,
    /// Purgatory with its parameters and stack.
    Purgatory,
    /// Room for the backup region.
    Backup,
}

impl What {
    /// The name in messages: ASCII, at most 16 bytes (it fits a region's name field).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::BootParams => "boot_params",
            Self::CommandLine => "command line",
            Self::Elfcorehdr => "elfcorehdr",
            Self::Purgatory => "purgatory",
            Self::Backup => "backup",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One segment for kexec_load.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// What it holds.
    pub what: What,
    /// Its content (`buf`, `bufsz`); empty for pure room.
    pub data: Cow<'a, [u8]>,
    /// Physical address (`mem`), page-aligned.
    pub address: u64,
    /// Size in memory (`memsz`), whole pages, at least `data.len()`.
    pub memsz: u64,
    /// SHA-256 of the two halves of `data` if purgatory verifies it (see
    /// [`purgatory::params::Region`]).
    pub digest: Option<[[u8; 32]; 2]>,
}

impl Segment<'_> {
    /// The memory it takes.
    pub fn range(&self) -> PhysRange {
        PhysRange::new(self.address, self.address.saturating_add(self.memsz))
    }
}

/// Which code of the kernel file runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// The unpacked kernel's own 64-bit entry: no decompressor runs.
    Direct,
    /// A bzImage's 64-bit entry (start of the protected-mode code + 0x200).
    BzImage64,
    /// A bzImage's 32-bit entry.
    BzImage32,
}

/// Everything kexec_load needs, and what `--dry-run` shows.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What it is for.
    pub target: Target,
    /// How the kernel is entered.
    pub entry_mode: EntryMode,
    /// Why `entry_mode` is not the preferred one, in one sentence for `-d`.
    pub entry_reason: Option<String>,
    /// Physical address of purgatory's entry: kexec_load's `entry`.
    pub entry: u64,
    /// The segments, sorted by address, disjoint, at most 16.
    pub segments: Vec<Segment<'a>>,
    /// The next kernel's command line as it will be in memory.
    pub command_line: String,
}
