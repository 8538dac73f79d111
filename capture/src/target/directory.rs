//! A directory of a mounted file system, where each dump gets a directory of its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::statvfs;

use super::Error;
use crate::address::KernelMemory;
use crate::manifest::{self, Manifest};
use crate::vmcore::Vmcore;
use crate::{dump, printk};

const INCOMPLETE: &str = "vmcore-incomplete";

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
        options: &dump::Options,
        progress: &mut dyn FnMut(&dump::Progress),
    ) -> Result<(dump::Saved, [u8; 32]), Error> {
        let incomplete = self.path.join(INCOMPLETE);
        let complete = self.path.join(manifest::VMCORE);
        let failed = |what| {
            let path = incomplete.clone();
            move |source| Error::File { what, path, source }
        };
        self.check_space(dump::estimate_size(core, options, progress)?)?;
        let file = File::create_new(&incomplete).map_err(failed("create"))?;
        let saved = dump::save(core, options, dump::Output::File(&file), progress)?;
        let sha256 = dump::verify(core, &incomplete, &saved, progress)?;
        fs::rename(&incomplete, &complete).map_err(failed("give its final name to"))?;
        sync_directory(&self.path)?;
        Ok((saved, sha256))
    }

    fn check_space(&self, estimate: dump::Estimate) -> Result<(), Error> {
        let status = statvfs(&self.path).map_err(|errno| Error::File {
            what: "find the free space of",
            path: self.path.clone(),
            source: errno.into(),
        })?;
        // Free blocks, not only those for everybody: this is the superuser.
        let available = status.f_bfree.saturating_mul(status.f_frsize);
        let needed = estimate.expected;
        if needed <= available { Ok(()) } else { Err(Error::Space { available, needed }) }
    }

    pub(super) fn save_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = self.path.join(manifest::MANIFEST);
        let failed = |what| {
            let path = path.clone();
            move |source| Error::File { what, path, source }
        };
        let text = manifest.to_json().map_err(failed("write"))?;
        let mut file = File::create_new(&path).map_err(failed("create"))?;
        file.write_all(&text).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        sync_directory(&self.path)
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Error::File { what: "sync", path: path.to_owned(), source })
}
