//! Mounts what the capture needs.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::config::Filesystem;

/// Why something could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Mounting failed.
    #[error("cannot mount {} ({filesystem}) on {}", source_name.display(), on.display())]
    Mount {
        /// What was to be mounted.
        source_name: PathBuf,
        /// As which file system.
        filesystem: &'static str,
        /// Where.
        on: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Unmounting failed: the last writes may be missing on the disk.
    #[error("cannot unmount {}", on.display())]
    Unmount {
        /// Where it is mounted.
        on: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Mounts /proc, /sys and /dev, as many of them as can be, and returns the failures.
pub fn kernel_filesystems() -> Vec<Error> {
    let mounts =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")].map(|(filesystem, on)| {
            mount_on(Path::new(filesystem), Path::new(on), filesystem, MountFlags::empty(), None)
        });
    mounts.into_iter().filter_map(Result::err).collect()
}

/// Of dump targets: nothing on them is for this kernel.
const FLAGS: MountFlags = MountFlags::NOATIME
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOSUID);

/// A mounted dump target.
#[derive(Debug)]
pub struct Mounted {
    on: PathBuf,
    unmount: UnmountFlags,
}

impl Mounted {
    /// Mounts the block device at `device` on `on`, which is created.
    pub fn new(device: &Path, filesystem: Filesystem, on: &Path) -> Result<Self, Error> {
        mount_on(device, on, filesystem.name(), FLAGS, None)?;
        Ok(Self { on: on.to_owned(), unmount: UnmountFlags::empty() })
    }

    /// Mounts what the server offers as `source_name` on `on`, which is created.
    pub fn network(
        filesystem: &'static str,
        source_name: &Path,
        options: &CStr,
        on: &Path,
    ) -> Result<Self, Error> {
        mount_on(source_name, on, filesystem, FLAGS, Some(options))?;
        // A server that has gone must not keep this machine: what matters was synced before.
        Ok(Self { on: on.to_owned(), unmount: UnmountFlags::FORCE })
    }

    /// Unmounts it, which writes out all of it.
    pub fn unmount(self) -> Result<(), Error> {
        unmount(&self.on, self.unmount)
            .map_err(|errno| Error::Unmount { on: self.on, source: errno.into() })
    }
}

fn mount_on(
    source_name: &Path,
    on: &Path,
    filesystem: &'static str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), Error> {
    fs::create_dir_all(on)
        .and_then(|()| Ok(mount(source_name, on, filesystem, flags, options)?))
        .map_err(|source| Error::Mount {
            source_name: source_name.to_owned(),
            filesystem,
            on: on.to_owned(),
            source,
        })
}
