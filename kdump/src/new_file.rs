//! Files that are whole or not there: written under another name first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that could not be written. What had its name before still has it.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The system refuses.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The content cannot be made.
    #[error("cannot write {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: E,
    },
}

/// Gives `path` the content that `write` makes, once all of it is on the disk: a boot or another
/// program must never find half of it.
pub fn replace<E: std::error::Error + 'static>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), Error<E>> {
    replace_as(path, 0o644, write)
}

/// The same for what may hold a private key: only the owner can read it.
pub fn replace_private<E: std::error::Error + 'static>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), Error<E>> {
    replace_as(path, 0o600, write)
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn replace_as<E: std::error::Error + 'static>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), Error<E>> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = write_and_rename(&temporary, path, mode, write);
    if written.is_err() {
        // It may not even exist; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_and_rename<E: std::error::Error + 'static>(
    temporary: &Path,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), Error<E>> {
    let failed = |what| move |source| Error::File { what, path: path.to_owned(), source };
    // What a run before left may be readable by more than this one should be.
    remove(temporary).map_err(failed("replace"))?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(temporary);
    let mut out = BufWriter::new(file.map_err(failed("create"))?);
    write(&mut out).map_err(|source| Error::Content { path: path.to_owned(), source })?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed("write"))?;
    fs::rename(temporary, path).map_err(failed("give its final name to"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn private_files_are_their_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, |out| out.write_all(b"public")).unwrap();
        replace_private(&path, |out| out.write_all(b"private")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_keeps_its_content_when_the_new_one_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, |out| out.write_all(b"first")).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"half of the sec")?;
            Err(io::Error::other("no more"))
        });
        assert!(matches!(failed, Err(Error::Content { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let nowhere = replace(&dir.path().join("none/file"), |out| out.write_all(b"x"));
        assert!(matches!(nowhere, Err(Error::File { what: "create", .. })));
    }
}
