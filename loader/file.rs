//! Files that are loaded: kernels and initrds, mapped instead of copied.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// No kernel or initrd is this long: 4 GiB.
pub const MAX_LENGTH: u64 = 1 << 32;

/// The bytes of a kernel or initrd file; dereferences to them.
#[derive(Debug)]
pub struct InputFile {
    file: File,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Mapped(Mmap),
    /// From a pipe, such as a shell's `<(zcat vmlinux.gz)`.
    Read(Vec<u8>),
}

impl InputFile {
    /// Opens `path` and maps it, or reads it if it is not a regular file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |cause| FileError::Io { path: path.to_owned(), cause };
        let file = File::open(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned(), cause },
            _ => failed(cause),
        })?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(FileError::Directory { path: path.to_owned() });
        }
        let content = if metadata.is_file() && metadata.len() > 0 {
            if metadata.len() > MAX_LENGTH {
                return Err(FileError::TooLarge { path: path.to_owned() });
            }
            Content::Mapped(map(&file).map_err(failed)?)
        } else {
            // Files of /proc and /sys say that they are empty, but may be read.
            Content::Read(read(&file).map_err(failed)?)
        };
        let opened = Self { file, content };
        match opened.len() as u64 {
            0 => Err(FileError::Empty { path: path.to_owned() }),
            1..=MAX_LENGTH => Ok(opened),
            _ => Err(FileError::TooLarge { path: path.to_owned() }),
        }
    }
}

impl Deref for InputFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Read(bytes) => bytes,
        }
    }
}

/// For kexec_file_load, which takes the file itself.
impl AsFd for InputFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: The obligation is that nobody truncates or writes the file while it is mapped; no
    // process can enforce that for a file that others may open. What can happen: after a
    // truncation, reading behind the new end raises SIGBUS, which ends this process before it
    // has loaded anything; after a write, other bytes are seen. Parsers copy the numbers that
    // they check, so that a later change cannot invalidate a bound; purgatory's digests are
    // computed from what was planned, so that it finds a change. Kernels and initrds are
    // replaced by renaming, which does neither.
    unsafe { Mmap::map(file) }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough to notice it.
    file.take(MAX_LENGTH + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("{path}: no such file; check the path", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// It cannot be opened, mapped or read.
    #[error("{path}: cannot be read", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// It is a directory.
    #[error("{path}: is a directory, not a kernel or initrd file", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{path}: the file is empty", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is longer than [`MAX_LENGTH`].
    #[error("{path}: longer than 4 GiB, too large to be loaded", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::{env, fs, process};

    use super::*;

    /// A directory that is removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("purgatorio-{name}-{}", process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_its_bytes() {
        let scratch = Scratch::new("bytes");
        let path = scratch.0.join("kernel");
        fs::write(&path, b"some bytes").unwrap();
        let file = InputFile::open(&path).unwrap();
        assert_eq!(&*file, b"some bytes");
        assert!(matches!(file.content, Content::Mapped(_)));
    }

    #[test]
    fn what_is_not_a_regular_file_is_read() {
        let file = InputFile::open(Path::new("/proc/self/status")).unwrap();
        assert!(file.starts_with(b"Name:"));
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"from a pipe").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        assert_eq!(&*InputFile::open(Path::new(&path)).unwrap(), b"from a pipe");
    }

    #[test]
    fn what_cannot_be_loaded_is_named_with_its_path() {
        let scratch = Scratch::new("errors");
        let open = |name: &str| InputFile::open(&scratch.0.join(name)).unwrap_err();

        let missing = open("nothing-here");
        assert!(matches!(missing, FileError::Missing { .. }));
        assert!(missing.to_string().contains("nothing-here: no such file"));
        assert!(missing.source().is_some());

        assert!(matches!(open("."), FileError::Directory { .. }));

        fs::write(scratch.0.join("empty"), b"").unwrap();
        assert!(matches!(open("empty"), FileError::Empty { .. }));

        let large = File::create(scratch.0.join("large")).unwrap();
        large.set_len(MAX_LENGTH + 1).unwrap(); // a hole: takes no space
        assert!(matches!(open("large"), FileError::TooLarge { .. }));
    }

    /// Root may read everything, so a path through a file stands for all that cannot be opened.
    #[test]
    fn what_cannot_be_opened_keeps_the_cause() {
        let scratch = Scratch::new("unreadable");
        let path = scratch.0.join("file");
        fs::write(&path, b"not a directory").unwrap();
        let error = InputFile::open(&path.join("beneath")).unwrap_err();
        assert!(matches!(error, FileError::Io { .. }), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("os error 20"));
    }
}
