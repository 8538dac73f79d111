//! One `kdump load` or `unload` at a time: hooks and hotplug events come in crowds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::machine::Machine;

/// Where the lock is, below the root directory.
const PATH: &str = "run/kdump/lock";

/// The lock cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock {}{}", path.display(), advice(source))]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { " (run as root)" } else { "" }
}

/// Held as long as it lives; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else has it.
    pub fn take(machine: &Machine) -> Result<Self, Error> {
        let path = machine.path(PATH);
        let failed = |source| Error { path: path.clone(), source };
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(dir.path());
        let first = Lock::take(&machine).unwrap();
        let (sender, taken) = mpsc::channel();
        let second = thread::spawn(move || sender.send(Lock::take(&machine).is_ok()));
        assert!(taken.recv_timeout(Duration::from_millis(100)).is_err());
        drop(first);
        assert_eq!(taken.recv_timeout(Duration::from_secs(30)), Ok(true));
        second.join().unwrap().unwrap();
    }
}
