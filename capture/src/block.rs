//! Finds the block device a dump goes to.

pub mod occupant;
pub mod partition_table;
pub mod superblock;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Device, Filesystem};
use superblock::{Family, Superblock};

/// How often the devices are looked at while the target is not there.
const INTERVAL: Duration = Duration::from_millis(100);

/// Why the target cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target did not appear in time.
    #[error(
        "no block device is {target} after {seconds} seconds; devices: {found}. \
         Is its driver in the image?"
    )]
    Missing {
        /// What was looked for.
        target: Device,
        /// How long.
        seconds: u64,
        /// What there is instead.
        found: String,
    },
    /// The target cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The device node.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The target has another file system, or none.
    #[error(
        "{} has {} instead of {wanted}: name the file system that it has, or another target",
        path.display(), found.map_or("no file system".to_owned(), |found| found.to_string())
    )]
    Filesystem {
        /// The device node.
        path: PathBuf,
        /// What was to be there.
        wanted: Family,
        /// What is there.
        found: Option<Family>,
    },
}

/// Where block devices are described and where their nodes are.
#[derive(Debug)]
pub struct Devices {
    class: PathBuf,
    nodes: PathBuf,
}

impl Default for Devices {
    /// The running kernel's.
    fn default() -> Self {
        Self { class: "/sys/class/block".into(), nodes: "/dev".into() }
    }
}

impl Devices {
    /// Those that `class` (`/sys/class/block`) describes, with nodes in `nodes` (`/dev`).
    pub fn at(class: &Path, nodes: &Path) -> Self {
        Self { class: class.to_owned(), nodes: nodes.to_owned() }
    }

    /// Waits for `target` and returns its node. It has been seen to have `filesystem`.
    pub fn wait_for_filesystem(
        &self,
        target: &Device,
        filesystem: Filesystem,
        limit: Duration,
    ) -> Result<PathBuf, Error> {
        let path = self.wait_for(target, limit)?;
        let failed = |source| Error::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let wanted = Family::of(filesystem);
        let found = Superblock::read(&file).map_err(failed)?.map(|found| found.family);
        if found == Some(wanted) {
            Ok(path)
        } else {
            Err(Error::Filesystem { path, wanted, found })
        }
    }

    /// Waits for `target` and returns its node.
    pub fn wait_for(&self, target: &Device, limit: Duration) -> Result<PathBuf, Error> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(path) = self.find(target) {
                return Ok(path);
            }
            if Instant::now() >= deadline {
                let found = self.describe();
                return Err(Error::Missing {
                    target: target.clone(),
                    seconds: limit.as_secs(),
                    found,
                });
            }
            thread::sleep(INTERVAL);
        }
    }

    /// The node of `target`, if it is there now.
    pub fn find(&self, target: &Device) -> Option<PathBuf> {
        if let Device::Path(path) = target {
            return path.exists().then(|| path.clone());
        }
        self.names().into_iter().find(|name| self.is(name, target)).map(|name| self.node(&name))
    }

    fn is(&self, name: &str, target: &Device) -> bool {
        match target {
            Device::Path(path) => *path == self.node(name),
            Device::Uuid(uuid) => self.superblock(name).is_some_and(|s| s.uuid == *uuid),
            Device::Label(label) => self.superblock(name).is_some_and(|s| s.label == *label),
            Device::PartUuid(uuid) => self.partuuid(name).is_some_and(|found| found == *uuid),
        }
    }

    /// A device that cannot be read is not the target: an empty drive, a failing path.
    fn superblock(&self, name: &str) -> Option<Superblock> {
        Superblock::read(&File::open(self.node(name)).ok()?).ok()?
    }

    fn partuuid(&self, name: &str) -> Option<String> {
        let device = self.class.join(name);
        let number = fs::read_to_string(device.join("partition")).ok()?;
        let number = number.trim().parse().ok()?;
        // .../block/vda/vda1: the disk is the directory that holds the partition's.
        let device = device.canonicalize().ok()?;
        let disk = device.parent()?.file_name()?.to_str()?;
        partition_table::partuuid(&File::open(self.node(disk)).ok()?, number).ok()?
    }

    /// Names of the devices, sorted.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.class) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn node(&self, name: &str) -> PathBuf {
        // The kernel writes `/` in a device's name as `!` in sysfs.
        self.nodes.join(name.replace('!', "/"))
    }

    fn describe(&self) -> String {
        let devices = self.names().into_iter().map(|name| match self.superblock(&name) {
            Some(found) if found.label.is_empty() => format!("{name} (UUID={})", found.uuid),
            Some(found) => format!("{name} (UUID={} LABEL={})", found.uuid, found.label),
            None => name,
        });
        let devices: Vec<String> = devices.collect();
        if devices.is_empty() { "none".to_owned() } else { devices.join(", ") }
    }
}

/// Reads exactly `length` bytes at `offset`; `None` if the device ends before.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes `at..at + N` of a block.
fn array<const N: usize>(block: &[u8], at: usize) -> Option<[u8; N]> {
    block.get(at..)?.first_chunk().copied()
}

/// Hexadecimal digits of `bytes`.
fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
