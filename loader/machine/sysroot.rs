//! Access to /proc and /sys, of the running machine or of a captured copy.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{MachineError, ParseError};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and the like.
    Other,
}

/// Where `proc/` and `sys/` are. Every read of the loader's facts goes through one.
#[derive(Clone, Debug)]
pub struct Sysroot {
    directory: PathBuf,
}

impl Sysroot {
    /// The machine that runs the loader.
    pub fn live() -> Self {
        Self::at(Path::new("/"))
    }

    /// A captured copy: `directory` holds `proc/` and `sys/`.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The file system's path of `file`, which is relative: `proc/iomem`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// All bytes of a file; `None` if there is no such file.
    pub(super) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, MachineError> {
        self.present(file, fs::read(self.path(file)))
    }

    /// A file's text; bytes that are not UTF-8 (resource names may be anything) are replaced.
    pub(super) fn text(&self, file: &str) -> Result<Option<String>, MachineError> {
        Ok(self.read(file)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// As [`text`](Self::text), of a file that every supported kernel has.
    pub(super) fn required_text(&self, file: &str) -> Result<String, MachineError> {
        self.text(file)?.ok_or_else(|| self.unreadable(file, io::ErrorKind::NotFound.into()))
    }

    /// A file's text, parsed; `None` if there is no such file.
    pub(super) fn parsed<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, MachineError> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        parse(&text)
            .map(Some)
            .map_err(|source| MachineError::Malformed { path: self.path(file), source })
    }

    /// As [`parsed`](Self::parsed), of a file that must be there.
    pub(super) fn required<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<T, MachineError> {
        self.parsed(file, parse)?
            .ok_or_else(|| self.unreadable(file, io::ErrorKind::NotFound.into()))
    }

    /// All bytes of a file that must be there.
    pub(super) fn required_bytes(&self, file: &str) -> Result<Vec<u8>, MachineError> {
        self.read(file)?.ok_or_else(|| self.unreadable(file, io::ErrorKind::NotFound.into()))
    }

    /// The names in a directory that must be there, in any order. Names that are not UTF-8 are
    /// an error: they could not be copied.
    pub(super) fn entries(&self, directory: &str) -> Result<Vec<(String, Entry)>, MachineError> {
        let unreadable = |source| self.unreadable(directory, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.path(directory)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let kind = if kind.is_dir() {
                Entry::Directory
            } else if kind.is_file() {
                Entry::File
            } else {
                Entry::Other
            };
            let name = entry.file_name().into_string();
            entries.push((name.map_err(|_| unreadable(io::ErrorKind::InvalidData.into()))?, kind));
        }
        Ok(entries)
    }

    /// Opens a file; `None` if there is no such file.
    pub(super) fn open(&self, file: &str) -> Result<Option<File>, MachineError> {
        self.present(file, File::open(self.path(file)))
    }

    /// Up to `length` bytes from `offset`: fewer where the file ends.
    pub(super) fn read_at(
        &self,
        file: &str,
        open: &mut File,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, MachineError> {
        let mut bytes = Vec::new();
        open.seek(SeekFrom::Start(offset))
            .and_then(|_| open.take(length).read_to_end(&mut bytes))
            .map_err(|source| self.unreadable(file, source))?;
        Ok(bytes)
    }

    /// The entries of a directory named `prefix` and a decimal number, in the order of that
    /// number; none if there is no such directory.
    pub(super) fn numbered(&self, directory: &str, prefix: &str) -> Result<Vec<u32>, MachineError> {
        let Some(entries) = self.present(directory, fs::read_dir(self.path(directory)))? else {
            return Ok(Vec::new());
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| self.unreadable(directory, source))?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn unreadable(&self, file: &str, source: io::Error) -> MachineError {
        MachineError::Read { path: self.path(file), source }
    }

    fn present<T>(&self, file: &str, result: io::Result<T>) -> Result<Option<T>, MachineError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(file, error)),
        }
    }
}
