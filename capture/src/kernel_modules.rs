//! Loads kernel modules in a given order.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::system::finit_module;

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("module {} was not loaded", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Loads the modules at `paths`, relative to `dir`, and returns those that failed.
///
/// The others are loaded all the same: a driver for hardware that is absent (a checksum
/// instruction, a second controller) refuses to load, and the dump does not need it.
pub fn load(dir: &Path, paths: &[PathBuf]) -> Vec<Error> {
    let loaded = paths.iter().map(|path| load_one(&dir.join(path)));
    loaded.filter_map(Result::err).collect()
}

fn load_one(path: &Path) -> Result<(), Error> {
    let failed = |source| Error { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}
