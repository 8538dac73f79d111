//! The initrd that a distribution made, read as the kernel reads it: archives one behind the
//! other, some compressed, with zeroes between (kernel 6.1 init/initramfs.c, `unpack_to_rootfs`).

use std::collections::HashMap;

use capture::early::DIRECTORY;
use purgatorio::image::unpack::{Format, UnpackError, unpack_stream};

use super::cpio::{self, Entries, Entry};

/// File type bits of `st_mode` (include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The most bytes that a compressed archive may hold.
const LARGEST: usize = 1 << 31;

/// The kernel takes an uncompressed archive only where its offset is a multiple of this.
const ALIGNMENT: usize = 4;

/// How many zeroes lie at least between two archives: LZ4's legacy frame, which initramfs-tools
/// makes, ends only where the size of the next block is zero.
const SEPARATOR: usize = 4;

/// Why an initrd cannot be read. Offsets are those in its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that is no archive.
    #[error(
        "neither a cpio archive (newc, at a multiple of {ALIGNMENT}) nor data compressed in a \
         known way at offset {offset:#x}"
    )]
    Unknown {
        /// Where.
        offset: usize,
    },
    /// A compressed archive is damaged.
    #[error("the compressed archive at offset {offset:#x} cannot be unpacked")]
    Compressed {
        /// Where it begins.
        offset: usize,
        /// Why.
        source: UnpackError,
    },
    /// An archive is damaged.
    #[error("the archive at offset {offset:#x} cannot be read")]
    Archive {
        /// Where it begins; if it is compressed, the compressed one.
        offset: usize,
        /// Why.
        source: cpio::Error,
    },
    /// There is no /init.
    #[error("it has no /init: it is no initramfs, or an incomplete one")]
    NoInit,
    /// /init is neither a file nor a link.
    #[error("its /init is neither a file nor a symbolic link (mode {mode:o})")]
    InitKind {
        /// Its `st_mode`.
        mode: u32,
    },
    /// The target of /init is not text.
    #[error("the target of its link /init is not UTF-8")]
    LinkTarget,
    /// Something else was added behind the early loading.
    #[error(
        "an archive at offset {offset:#x} follows the one that loads the capture kernel early: \
         give the initrd as the distribution makes it"
    )]
    NotLast {
        /// Where that archive begins.
        offset: usize,
    },
}

/// What the kernel runs first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginalInit {
    /// A program or a script.
    File {
        /// Its permissions.
        mode: u32,
        /// Its content.
        data: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// To what.
        target: String,
    },
}

/// An initrd.
#[derive(Debug)]
pub struct Base<'a> {
    /// The file without early loading.
    pub bytes: &'a [u8],
    /// Where the last archive in it ends; zeroes may follow.
    end: usize,
    /// Its /init.
    pub init: OriginalInit,
}

impl Base<'_> {
    /// How many zeroes go between it and one more archive.
    pub fn padding(&self) -> usize {
        let length = self.bytes.len();
        let least = (self.end + SEPARATOR).saturating_sub(length);
        (length + least).next_multiple_of(ALIGNMENT) - length
    }
}

/// Reads the initrd in `file`.
pub fn read(file: &[u8]) -> Result<Base<'_>, Error> {
    let mut init = None;
    let mut end = 0;
    let mut bytes = file;
    while let Some(start) = next_archive(file, end) {
        let segment = Segment::read(file, start)?;
        if segment.has_early_loading {
            if let Some(offset) = next_archive(file, segment.end) {
                return Err(Error::NotLast { offset });
            }
            bytes = &file[..end];
            break;
        }
        init = segment.init.or(init);
        end = segment.end;
    }
    Ok(Base { bytes, end, init: init.ok_or(Error::NoInit)? })
}

/// Where the first archive at `offset` or behind it begins.
fn next_archive(file: &[u8], offset: usize) -> Option<usize> {
    let zeroes = file[offset..].iter().position(|byte| *byte != 0)?;
    Some(offset + zeroes)
}

/// An archive of the file, or a compressed stream with archives in it.
struct Segment {
    end: usize,
    init: Option<OriginalInit>,
    has_early_loading: bool,
}

impl Segment {
    fn read(file: &[u8], start: usize) -> Result<Self, Error> {
        let rest = &file[start..];
        let failed = |source| Error::Archive { offset: start, source };
        let mut segment = Self { end: start, init: None, has_early_loading: false };
        if rest.starts_with(b"0") && start.is_multiple_of(ALIGNMENT) {
            segment.end += segment.take_archive(rest, failed)?;
        } else if Format::detect(rest).is_some() {
            let (unpacked, taken) = unpack_stream(rest, LARGEST, &mut |_| {})
                .map_err(|source| Error::Compressed { offset: start, source })?;
            segment.end += taken;
            let mut at = 0;
            while let Some(start) = next_archive(&unpacked, at) {
                at = start + segment.take_archive(&unpacked[start..], failed)?;
            }
        } else {
            return Err(Error::Unknown { offset: start });
        }
        Ok(segment)
    }

    /// Takes in the archive that `bytes` begin with, and returns its length.
    fn take_archive(
        &mut self,
        bytes: &[u8],
        failed: impl Fn(cpio::Error) -> Error,
    ) -> Result<usize, Error> {
        let mut entries = Entries::of(bytes);
        let mut init: Option<Entry<'_>> = None;
        let mut contents = HashMap::new();
        for entry in entries.by_ref() {
            let entry = entry.map_err(&failed)?;
            if entry.links > 1 && !entry.data.is_empty() {
                contents.insert(entry.file, entry.data);
            }
            if entry.path == DIRECTORY.trim_start_matches('/').as_bytes() {
                self.has_early_loading = true;
            }
            if entry.path == b"init" {
                init = Some(entry);
            }
        }
        if let Some(init) = init {
            let content = contents.get(&init.file).copied().filter(|_| init.links > 1);
            self.init = Some(original_init(&init, content.unwrap_or(init.data))?);
        }
        Ok(entries.position)
    }
}

fn original_init(entry: &Entry<'_>, content: &[u8]) -> Result<OriginalInit, Error> {
    match entry.mode & S_IFMT {
        S_IFREG => Ok(OriginalInit::File { mode: entry.mode & !S_IFMT, data: content.to_vec() }),
        S_IFLNK => {
            let target = std::str::from_utf8(content).map_err(|_| Error::LinkTarget)?;
            Ok(OriginalInit::Link { target: target.trim_end_matches('\0').to_owned() })
        }
        _ => Err(Error::InitKind { mode: entry.mode }),
    }
}
