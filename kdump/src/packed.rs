//! Reads a capture image back: the files of its `newc` archive
//! (Documentation/driver-api/early-userspace/buffer-format.rst, Linux 6.1), compressed or not.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::config::{self, Config};
use purgatorio::image::unpack::{UnpackError, unpack};

/// More than any initramfs unpacks to, in bytes: a hostile file must not fill the memory.
const LIMIT: usize = 1 << 30;

const MAGIC: &[u8] = b"070701";
/// The magic number and 13 fields of 8 hexadecimal digits.
const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the image {}", path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is neither an archive nor a compressed one.
    #[error("{} is not an initramfs", path.display())]
    Unpack {
        /// The image.
        path: PathBuf,
        /// What the decoder found.
        source: UnpackError,
    },
    /// The archive contradicts itself or ends too early.
    #[error(
        "{} is damaged: no archive entry at offset {offset:#x} of the unpacked archive; \
         make it again with `kdump mkinitrd`", path.display()
    )]
    Damaged {
        /// The image.
        path: PathBuf,
        /// Where the entry should begin, in bytes.
        offset: usize,
    },
    /// The archive was made by something else.
    #[error(
        "{} has no /{file}: it is not a capture image; make one with `kdump mkinitrd`",
        path.display()
    )]
    NotACaptureImage {
        /// The image.
        path: PathBuf,
        /// What it lacks.
        file: &'static str,
    },
}

/// What a capture image holds that matters outside it.
#[derive(Clone, Debug)]
pub struct CaptureImage {
    /// The program that the capture kernel starts.
    pub init: Vec<u8>,
    /// What it is told.
    pub config: Config,
    /// What cannot be taken of that.
    pub problems: Vec<String>,
}

impl CaptureImage {
    /// Reads the image at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes =
            fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let archive =
            unpacked(&bytes).map_err(|source| Error::Unpack { path: path.to_owned(), source })?;
        let files =
            files(&archive).map_err(|offset| Error::Damaged { path: path.to_owned(), offset })?;
        let find = |name: &'static str| {
            let wanted = name.trim_start_matches('/').as_bytes();
            // The kernel lets a later entry replace an earlier one.
            let found = files.iter().rev().find(|(path, _)| *path == wanted);
            found.map(|(_, data)| data.to_vec()).ok_or_else(|| Error::NotACaptureImage {
                path: path.to_owned(),
                file: name.trim_start_matches('/'),
            })
        };
        let text = find(config::PATH)?;
        let (config, problems) = Config::read(&String::from_utf8_lossy(&text));
        let problems = problems.iter().map(ToString::to_string).collect();
        Ok(Self { init: find("init")?, config, problems })
    }
}

fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, UnpackError> {
    if bytes.starts_with(MAGIC) {
        return Ok(bytes.into());
    }
    unpack(bytes, LIMIT, &mut |_| {}).map(Cow::Owned)
}

/// Path and data of each entry, from all archives that follow each other; on failure the offset
/// at which there is none.
fn files(archive: &[u8]) -> Result<Vec<(&[u8], &[u8])>, usize> {
    let mut files = Vec::new();
    let mut at = 0;
    while let Some(rest) = archive.get(at..).filter(|rest| !rest.is_empty()) {
        // The kernel takes zeroes between archives for padding (init/initramfs.c, do_reset).
        if rest[0] == 0 {
            at += rest.iter().take_while(|byte| **byte == 0).count();
            continue;
        }
        let (path, data, length) = entry(rest).ok_or(at)?;
        if path != TRAILER {
            files.push((path, data));
        }
        at += length;
    }
    Ok(files)
}

/// The path, the data, and the length with padding of the entry at the start of `rest`.
fn entry(rest: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let header = rest.get(..HEADER).filter(|header| header.starts_with(MAGIC))?;
    let field = |n: usize| {
        let digits = std::str::from_utf8(header.get(6 + n * 8..14 + n * 8)?).ok()?;
        usize::try_from(u32::from_str_radix(digits, 16).ok()?).ok()
    };
    let (size, name_size) = (field(6)?, field(11)?);
    let name_end = HEADER.checked_add(name_size)?;
    let name = rest.get(HEADER..name_end)?.strip_suffix(b"\0")?;
    let start = name_end.checked_next_multiple_of(4)?;
    let end = start.checked_add(size)?;
    let data = rest.get(start..end)?;
    Some((name, data, end.checked_next_multiple_of(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initramfs::Initramfs;
    use capture::config::Action;

    fn image(config: &str) -> Vec<u8> {
        let mut archive = Initramfs::new();
        archive.file("init", 0o755, *b"program").file(config::PATH, 0o644, config).dir("proc");
        let mut bytes = Vec::new();
        archive.write_to(&mut bytes).unwrap();
        bytes
    }

    fn open(bytes: &[u8]) -> Result<CaptureImage, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        CaptureImage::open(file.path())
    }

    #[test]
    fn what_was_packed_is_read_back() {
        let read = open(&image("action = halt\nno such key = 1\n")).unwrap();
        assert_eq!(read.init, b"program");
        assert_eq!(read.config.action, Action::Halt);
        assert_eq!(read.problems.len(), 1);
    }

    #[test]
    fn of_two_archives_the_later_one_counts() {
        let two = [image("action = halt\n"), vec![0; 8], image("action = poweroff\n")].concat();
        assert_eq!(open(&two).unwrap().config.action, Action::PowerOff);
    }

    #[test]
    fn damaged_images_are_refused_at_every_length() {
        let whole = image("action = halt\n");
        // What is left out at the end is the trailer, which nothing needs.
        let config_end = whole.len() - 400;
        for length in 1..config_end {
            assert!(open(&whole[..length]).is_err(), "{length} bytes of it");
        }
        assert!(matches!(open(b"something else"), Err(Error::Unpack { .. })));
        let mut none = Vec::new();
        Initramfs::new().dir("proc").write_to(&mut none).unwrap();
        assert!(matches!(open(&none), Err(Error::NotACaptureImage { .. })));
    }
}
