//! Writes dumps: the dead kernel's memory without the pages that nobody wants, compressed, or as an
//! ELF core file.
//!
//! Memory is gone through twice, window by window, and nothing is kept of a window but how many of
//! its pages are wanted: memory use does not grow with the machine. The first time only their
//! `struct page`s are looked at, to know where in the file everything goes; the second time several
//! threads read and compress pages, and one writes what they made, in order of page frames.

mod bitmap;
mod elf;
mod estimate;
mod kdump;
mod parallel;
mod selection;
mod sink;
mod verify;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

pub use estimate::{Estimate, estimate_size};
pub use parallel::MOST_WAITING;
pub use verify::verify;

use serde::Serialize;

use crate::filter::{Level, PageKind};
pub use crate::format::page::Compression;
use crate::vmcore::{self, Vmcore};
use selection::Selection;
use sink::Sink;
use verify::Written;

/// Why the dump was not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The core cannot be read.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The dump cannot be written.
    #[error("cannot write the dump at offset {offset:#x}")]
    Write {
        /// Where in the file.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The dump cannot be read back.
    #[error("cannot read {} back", path.display())]
    ReadBack {
        /// The dump.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The memory does not fit into the format.
    #[error("the dead kernel's memory has {what}, more than the format {format} has room for")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// The format.
        format: Format,
    },
    /// The format kdump knows machines by name, and this one has none.
    #[error("the format kdump has no name for the machine {e_machine}; the format elf needs none")]
    Machine {
        /// `e_machine` of the core.
        e_machine: u16,
    },
    /// There is no thread to work.
    #[error("cannot start a thread; try with one (threads = 1)")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
    /// The dump is not what was written.
    #[error("{} differs from what was written to it: {what}", path.display())]
    Differs {
        /// The dump.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

/// The kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// kdump-compressed.
    #[default]
    Kdump,
    /// An ELF core file.
    Elf,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "kdump" => Ok(Self::Kdump),
            "elf" => Ok(Self::Elf),
            _ => Err("kdump or elf"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kdump => "kdump",
            Self::Elf => "elf",
        })
    }
}

/// How a dump is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The kind of file.
    pub format: Format,
    /// Of the pages of [`Format::Kdump`].
    pub compression: Compression,
    /// Which pages are left out.
    pub level: Level,
    /// How many threads read and compress pages; the one that writes is not counted if there are
    /// others.
    pub threads: NonZeroUsize,
}

/// Where a dump is written.
pub enum Output<'a> {
    /// A new file, open for writing.
    File(&'a File),
    /// The first `room` bytes of a block device.
    Device {
        /// The device, open for writing.
        device: &'a File,
        /// Bytes that a dump may take.
        room: u64,
    },
    /// A pipe, which gets the flattened form.
    Stream(&'a mut dyn Write),
}

/// Where the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Wanted pages are counted; progress is in pages of RAM.
    Count,
    /// Pages are saved; progress is in wanted pages.
    Save,
    /// The dump is read back; progress is in bytes of the file.
    Verify,
}

/// How far the work is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// In which stage.
    pub stage: Stage,
    /// What is done of it.
    pub done: u64,
    /// All of it.
    pub total: u64,
    /// Bytes of the dump so far.
    pub written: u64,
}

/// What became of the pages of the dead kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All pages of RAM.
    pub total: u64,
    /// Those whose content is in the dump, pages of zeros among them where they are not left out.
    pub kept: u64,
    /// Pages of zeros among those that no other rule left out, known when the dump is saved. The
    /// format kdump has one copy of them all, and every reader finds them.
    pub zero: u64,
    /// Left out: page cache without private data.
    pub cache: u64,
    /// Left out: page cache with private data.
    pub cache_private: u64,
    /// Left out: memory of user processes.
    pub user: u64,
    /// Left out: free memory.
    pub free: u64,
    /// Left out: broken memory.
    pub hwpoison: u64,
    /// Left out: memory that is not there.
    pub offline: u64,
    /// What the core that was read had left out already.
    pub missing: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self {
            total,
            kept,
            zero,
            cache,
            cache_private,
            user,
            free,
            hwpoison,
            offline,
            missing,
        } = other;
        self.total += total;
        self.kept += kept;
        self.zero += zero;
        self.cache += cache;
        self.cache_private += cache_private;
        self.user += user;
        self.free += free;
        self.hwpoison += hwpoison;
        self.offline += offline;
        self.missing += missing;
    }

    fn add_page(&mut self, kind: PageKind) {
        self.total += 1;
        let count = match kind {
            PageKind::Keep => &mut self.kept,
            PageKind::Cache => &mut self.cache,
            PageKind::CachePrivate => &mut self.cache_private,
            PageKind::User => &mut self.user,
            PageKind::Free => &mut self.free,
            PageKind::HwPoison => &mut self.hwpoison,
            PageKind::Offline => &mut self.offline,
        };
        *count += 1;
    }
}

/// A dump that was written to its end.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its size: that of the file, or of the flattened stream.
    pub bytes: u64,
    /// SHA-256 of a stream. That of a file is found by [`verify`], which reads it anyway: its first
    /// blocks are known last, so that it cannot be computed while writing.
    pub sha256: Option<[u8; 32]>,
    /// What became of the pages.
    pub pages: Counts,
    /// What is kept that the level would leave out, and why.
    pub notes: Vec<String>,
    written: Written,
}

/// Writes the core as `options` say.
///
/// If it fails, what was written so far of a dump in the format kdump says of itself that it is
/// incomplete, and can be read page by page: headers and bitmaps are at its beginning. What its
/// bitmap has is there, also after a power cut, which loses a few seconds of work; a reader that
/// wants a page of the others will fail. An ELF file that was cut off is of no use.
pub fn save(
    core: &Vmcore,
    options: &Options,
    output: Output<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Saved, Error> {
    let selection = Selection::new(core, options.level);
    let mut sink = Sink::new(output)?;
    let (pages, written) = match options.format {
        Format::Kdump => kdump::write(&selection, options, &mut sink, progress)?,
        Format::Elf => elf::write(&selection, options, &mut sink, progress)?,
    };
    let (bytes, sha256) = sink.finish()?;
    Ok(Saved { bytes, sha256, pages, notes: selection.notes(), written })
}

/// Bytes that are looked at together: a loop over them without exits compiles to vector
/// instructions, and the exits between the pieces make an early end possible.
const PIECE: usize = 256;

fn is_zero(page: &[u8]) -> bool {
    page.chunks(PIECE).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

/// What `==` says, which takes byte after byte in musl's `memcmp`.
fn is_same(page: &[u8], other: &[u8]) -> bool {
    let differ = |(one, other): (&[u8], &[u8])| {
        one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other)) != 0
    };
    page.len() == other.len() && !page.chunks(PIECE).zip(other.chunks(PIECE)).any(differ)
}

#[cfg(test)]
mod tests;
