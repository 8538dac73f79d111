//! A file system on a block device of this machine.

use std::path::Path;

use super::Error;
use super::directory::Directory;
use crate::block::Devices;
use crate::config::{Config, Device, Filesystem};
use crate::mount;
use crate::vmcore::Vmcore;

/// Where it is mounted.
pub(super) const MOUNT_POINT: &str = "/target";

/// A mounted file system with the dump's directory.
#[derive(Debug)]
pub struct Mounted {
    mounted: mount::Mounted,
    pub(super) directory: Directory,
}

/// Waits for `device`, mounts it, and makes the dump's directory below `path`.
pub(super) fn open(
    device: &Device,
    filesystem: Filesystem,
    path: &Path,
    config: &Config,
    core: &Vmcore,
) -> Result<Mounted, Error> {
    let node = Devices::default().wait_for_filesystem(device, filesystem, config.wait)?;
    let mounted = mount::Mounted::new(&node, filesystem, Path::new(MOUNT_POINT))?;
    Mounted::prepare(mounted, path, core)
}

impl Mounted {
    /// Makes the dump's directory below `path` of what is mounted on [`MOUNT_POINT`].
    pub(super) fn prepare(
        mounted: mount::Mounted,
        path: &Path,
        core: &Vmcore,
    ) -> Result<Self, Error> {
        match Directory::create(Path::new(MOUNT_POINT), path, core) {
            Ok(directory) => Ok(Self { mounted, directory }),
            Err(error) => {
                // The next target wants the mount point; what is told is the first error.
                let _ = mounted.unmount();
                Err(error)
            }
        }
    }

    /// Unmounts it, which writes out all of it.
    pub(super) fn close(self) -> Result<(), Error> {
        let Self { mounted, directory } = self;
        // Its files are open in it.
        drop(directory);
        Ok(mounted.unmount()?)
    }
}
