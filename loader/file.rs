//! Files as memory: kernels and initrds are mapped, not copied, and segments point into the
//! mapping.

use std::{
    fs::File,
    io,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use memmap2::Mmap;

/// A file that is open and mapped for reading.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Opens and maps a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let map = if metadata.is_file() && metadata.len() == 0 { None } else { Some(map(&file)?) };
        Ok(Self { file, map })
    }
}

#[allow(unsafe_code)] // A mapping is only as constant as its file.
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the bytes must not change while they are borrowed. Nothing in this process writes
    // to the file, and the mapping is private and read-only. Another process may still write to
    // the file: whoever may write the kernel that is loaded needs no such detour. Every parser
    // checks what it reads once, into types, and a file that shrinks ends this process by SIGBUS
    // before anything is loaded.
    unsafe { Mmap::map(file) }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// For kexec_file_load, which reads the file itself.
impl AsFd for MappedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_bytes() {
        let mapped = MappedFile::open(Path::new(file!()));
        let mapped = mapped.expect("tests run in the package's folder");
        assert!(mapped.starts_with(b"//! Files as memory"));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error_or_empty() {
        assert_eq!(
            MappedFile::open(Path::new("/")).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        assert!(MappedFile::open(Path::new("/no/such/file")).is_err());
        assert!(MappedFile::open(Path::new("/dev/null")).is_err());
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(*MappedFile::open(empty.path()).unwrap(), []);
    }
}
