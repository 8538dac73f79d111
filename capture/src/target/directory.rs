//! A directory of a mounted file system, where each dump gets a directory of its own.

pub(crate) mod rotation;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::statvfs;

use super::{Error, check_space};
use crate::address::KernelMemory;
use crate::dump::{Options, Output, Progress, Saved};
use crate::journal::Journal;
use crate::manifest::{self, Manifest};
use crate::vmcore::Vmcore;
use crate::{dump, journal, printk};
use rotation::{Rotated, rotate};

/// The directory of one dump.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    mount_point: PathBuf,
}

impl Directory {
    /// Makes a directory for the dump of `core`, below `parent` of the file system at `mount_point`.
    /// Its name has a number when the time is taken: a clock that stands still must not cost a dump.
    pub(super) fn create(mount_point: &Path, parent: &Path, core: &Vmcore) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what: "create directory", path, source }
        };
        let parent = mount_point.join(parent.strip_prefix("/").unwrap_or(parent));
        fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let time = manifest::crash_time(&core.headers().info).unwrap_or_else(SystemTime::now);
        let name = manifest::directory_name(time);
        let mut path = parent.join(&name);
        for number in 1..1000 {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = parent.join(format!("{name}.{number}"));
                }
                other => {
                    other.map_err(failed(&path))?;
                    sync_directory(&parent)?;
                    return Ok(Self { path, mount_point: mount_point.to_owned() });
                }
            }
        }
        Err(failed(&path)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Its path on the file system.
    pub(super) fn place(&self) -> String {
        let below = self.path.strip_prefix(&self.mount_point).unwrap_or(&self.path);
        Path::new("/").join(below).display().to_string()
    }

    pub(super) fn save_log(&self, core: &Vmcore) -> Result<u64, Error> {
        let path = self.path.join(manifest::DMESG);
        let failed = |what| {
            let path = path.clone();
            move |source| Error::File { what, path, source }
        };
        let mut memory = KernelMemory::new(core)?;
        let mut out = BufWriter::new(File::create_new(&path).map_err(failed("create"))?);
        let records = printk::write_log(&mut memory, &mut out);
        // What there is of it is worth keeping.
        out.flush().map_err(failed("write"))?;
        out.get_ref().sync_all().map_err(failed("sync"))?;
        Ok(records?)
    }

    pub(super) fn save_dump(
        &self,
        core: &Vmcore,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Saved, Error> {
        check_space(core, options, self.free_space()?, progress)?;
        let path = self.path.join(manifest::INCOMPLETE);
        let file = File::create_new(&path);
        let file = file.map_err(|source| Error::File { what: "create", path, source })?;
        Ok(dump::save(core, options, Output::File(&file), progress)?)
    }

    pub(super) fn finish_dump(
        &self,
        core: &Vmcore,
        saved: &Saved,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<[u8; 32], Error> {
        let incomplete = self.path.join(manifest::INCOMPLETE);
        let sha256 = dump::verify(core, &incomplete, saved, progress)?;
        fs::rename(&incomplete, self.path.join(manifest::VMCORE)).map_err(|source| {
            Error::File { what: "give its final name to", path: incomplete, source }
        })?;
        sync_directory(&self.path)?;
        Ok(sha256)
    }

    /// Bytes that can be written.
    fn free_space(&self) -> Result<u64, Error> {
        let status = statvfs(&self.path).map_err(|errno| Error::File {
            what: "find the free space of",
            path: self.path.clone(),
            source: errno.into(),
        })?;
        // Free blocks, not only those for everybody: this is the superuser.
        Ok(status.f_bfree.saturating_mul(status.f_frsize))
    }

    /// The manifest is there whole or not at all, and replaces an older one.
    pub(super) fn save_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = self.path.join(manifest::MANIFEST_NEW);
        let failed = |what| {
            let path = path.clone();
            move |source| Error::File { what, path, source }
        };
        let text = manifest.to_json().map_err(failed("write"))?;
        let mut file = File::create(&path).map_err(failed("create"))?;
        file.write_all(&text).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        fs::rename(&path, self.path.join(manifest::MANIFEST))
            .map_err(failed("give its final name to"))?;
        sync_directory(&self.path)
    }

    /// The journal goes on in a file here.
    pub(super) fn open_journal(&self, journal: &mut Journal) -> io::Result<()> {
        journal.open(&self.path.join(journal::NAME))
    }

    /// Removes older dumps beside this one, until there are `keep`.
    pub(super) fn rotate(&self, keep: NonZeroUsize) -> io::Result<Rotated> {
        rotate(self.path.parent().unwrap_or(&self.path), &self.path, keep)
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Error::File { what: "sync", path: path.to_owned(), source })
}
