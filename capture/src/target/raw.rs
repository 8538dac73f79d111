//! A block device without file system: the dump is its content from the first byte on, so that
//! readers of dumps open the device itself. What belongs to the dump is at the device's end.

pub mod trailer;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Error, check_space};
use crate::address::KernelMemory;
use crate::block::{Devices, occupant};
use crate::config::{Config, Device};
use crate::dump::{self, Options, Output, Progress, Saved};
use crate::journal::Journal;
use crate::manifest::Manifest;
use crate::printk::{self, Bounded};
use crate::vmcore::Vmcore;
use trailer::{Part, Trailer};

/// What is cleared before a dump is written: enough that nothing takes an older one for it.
const CLEARED: usize = 64 << 10;

/// A device that is to get a dump.
#[derive(Debug)]
pub struct Raw {
    path: PathBuf,
    device: File,
    trailer: Trailer,
}

impl Raw {
    /// Waits for `device` and takes it; what is on it is destroyed. A device with something else
    /// than a dump is refused unless `overwrite`.
    pub(super) fn open(device: &Device, overwrite: bool, config: &Config) -> Result<Self, Error> {
        let path = Devices::default().wait_for(device, config.wait)?;
        Self::take(path, overwrite)
    }

    fn take(path: PathBuf, overwrite: bool) -> Result<Self, Error> {
        let failed = |what| failed(what, &path);
        let mut device =
            OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
        let found = occupant::occupant(&device).map_err(failed("read"))?;
        if let Some(found) = found.filter(|_| !overwrite) {
            return Err(Error::Occupied { path, found });
        }
        // A block device has no length; its end has a place.
        let size = device.seek(SeekFrom::End(0)).map_err(failed("find the end of"))?;
        let trailer = Trailer::new(size).ok_or_else(|| Error::TooSmall { path: path.clone() })?;
        device.write_all_at(&[0; CLEARED], 0).map_err(failed("write to"))?;
        trailer.write(&device).map_err(failed("write to"))?;
        Ok(Self { path, device, trailer })
    }

    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn save_log(&mut self, core: &Vmcore) -> Result<u64, Error> {
        let mut memory = KernelMemory::new(core)?;
        let mut text = Bounded::new(Part::Log.most());
        let records = printk::write_log(&mut memory, &mut text);
        // What there is of it is worth keeping.
        self.save_part(Part::Log, &text.text)?;
        Ok(records?)
    }

    pub(super) fn save_dump(
        &mut self,
        core: &Vmcore,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Saved, Error> {
        check_space(core, options, self.trailer.room(), progress)?;
        let output = Output::Device { device: &self.device, room: self.trailer.room() };
        let saved = dump::save(core, options, output, progress)?;
        self.device.sync_all().map_err(failed("sync", &self.path))?;
        Ok(saved)
    }

    /// There is no name to give: the trailer says from now on that there is a dump.
    pub(super) fn finish_dump(
        &mut self,
        core: &Vmcore,
        saved: &Saved,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<[u8; 32], Error> {
        let sha256 = dump::verify(core, &self.path, saved, progress)?;
        self.trailer.dump_bytes = saved.bytes;
        Ok(sha256)
    }

    pub(super) fn save_manifest(&mut self, manifest: &Manifest) -> Result<(), Error> {
        let text = manifest.to_json().map_err(failed("write to", &self.path))?;
        self.save_part(Part::Manifest, &text)
    }

    /// Saves the capture's own log, as far as it goes, and lets go of the device.
    pub(super) fn save_journal(mut self, journal: &Journal) -> Result<(), Error> {
        self.save_part(Part::Journal, journal.text().as_bytes())
    }

    fn save_part(&mut self, part: Part, bytes: &[u8]) -> Result<(), Error> {
        let failed = failed("write to", &self.path);
        self.trailer.set(part, &self.device, bytes).map_err(&failed)?;
        self.trailer.write(&self.device).and_then(|()| self.device.sync_all()).map_err(failed)
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
