//! Reads a capture image back: its program and its configuration.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::config::{self, Config};
use purgatorio::facts::Arch;
use purgatorio::image::unpack::{UnpackError, unpack};

use crate::early::cpio::{self, Entries, Entry};
use crate::mkinitrd::{self, MachineName};

/// More than any initramfs unpacks to, in bytes: a hostile file must not fill the memory.
const LIMIT: usize = 1 << 30;

/// What an archive that is not compressed begins with.
const MAGIC: &[u8] = b"0707";

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
    #[error("{} is damaged: make it again with `kdump mkinitrd`", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: cpio::Error,
    },
    /// Its program is none.
    #[error("{} has an /init that cannot run", path.display())]
    Program {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: mkinitrd::Error,
    },
    /// Its program is for a machine that this project knows nothing of.
    #[error("{} is for {machine}, which is not supported", path.display())]
    Machine {
        /// The image.
        path: PathBuf,
        /// What it is for.
        machine: MachineName,
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
        Self::parse(path, &bytes)
    }

    /// Reads the image that is, or will be, at `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let archive =
            unpacked(bytes).map_err(|source| Error::Unpack { path: path.to_owned(), source })?;
        let files =
            files(&archive).map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
        let find = |name: &'static str| {
            let wanted = name.trim_start_matches('/').as_bytes();
            // The kernel lets a later entry replace an earlier one.
            let found = files.iter().rev().find(|entry| entry.path == wanted);
            found.map(|entry| entry.data.to_vec()).ok_or_else(|| Error::NotACaptureImage {
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

impl CaptureImage {
    /// The architecture of its program; `path` is the image's, for the error.
    pub fn arch(&self, path: &Path) -> Result<Arch, Error> {
        let failed = |source| Error::Program { path: path.to_owned(), source };
        let machine = mkinitrd::machine_of(&self.init).map_err(failed)?;
        machine.arch().ok_or_else(|| Error::Machine { path: path.to_owned(), machine })
    }
}

fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, UnpackError> {
    if bytes.starts_with(MAGIC) {
        return Ok(bytes.into());
    }
    unpack(bytes, LIMIT, &mut |_| {}).map(Cow::Owned)
}

/// The entries of all archives that follow each other.
fn files(bytes: &[u8]) -> Result<Vec<Entry<'_>>, cpio::Error> {
    let mut files = Vec::new();
    let mut at = 0;
    // The kernel takes zeroes between archives for padding (init/initramfs.c, unpack_to_rootfs).
    while let Some(zeroes) = bytes[at..].iter().position(|byte| *byte != 0) {
        at += zeroes;
        let mut entries = Entries::of(&bytes[at..]);
        for entry in entries.by_ref() {
            files.push(entry?);
        }
        at += entries.position;
    }
    Ok(files)
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
        CaptureImage::parse(Path::new("image"), bytes)
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
        for length in 1..whole.len() - 3 {
            assert!(open(&whole[..length]).is_err(), "{length} bytes of it");
        }
        assert!(matches!(open(b"something else"), Err(Error::Unpack { .. })));
        let mut none = Vec::new();
        Initramfs::new().dir("proc").write_to(&mut none).unwrap();
        assert!(matches!(open(&none), Err(Error::NotACaptureImage { .. })));
    }
}
