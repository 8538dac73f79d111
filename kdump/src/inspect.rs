//! What a dump is: of which kernel, why it died, what is in the file, and whether the file is as it
//! was saved.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capture::address::KernelMemory;
use capture::console::chain;
use capture::format::kdump::STATUS_INCOMPLETE;
use capture::format::page::method_of;
use capture::manifest::{self, MANIFEST};
use capture::printk::{self, Bounded};
use capture::vmcore::{self, Headers, Kdump, Vmcore};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::mkinitrd::MachineName;
use crate::saved::{self, MAX_LOG, Manifest, Saved, cause};

/// The note with a CPU's registers (include/uapi/linux/elf.h, Linux 6.1).
const NT_PRSTATUS: u32 = 1;

/// Pages that are looked at together.
const CHUNK: usize = 256;

/// Why a dump cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be opened, or is none.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// Its directory is none of a dump.
    #[error(transparent)]
    Saved(#[from] saved::Error),
    /// The directory has no dump.
    #[error("{} has no dump: {state}", path.display())]
    NoDump {
        /// The directory.
        path: PathBuf,
        /// What its manifest says.
        state: String,
    },
    /// Its log cannot be had.
    #[error(transparent)]
    Log(#[from] printk::Error),
    /// The dump cannot be read to its end.
    #[error("cannot read {}", path.display())]
    Read {
        /// The dump.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The dump.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The kernel that died: its release.
    pub release: Option<String>,
    /// Its build id.
    pub build_id: Option<String>,
    /// The machine.
    pub machine: String,
    /// When it died, UTC.
    pub crash_time: Option<String>,
    /// Why, in its log's words.
    pub cause: Option<String>,
    /// CPUs whose registers are in the dump.
    pub cpus: usize,
    /// Bytes of RAM that the dump describes.
    pub memory: u64,
    /// What the file is.
    pub contents: Contents,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// What the file is.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// `kdump` or `elf`.
    pub format: &'static str,
    /// How pages are compressed; `none` if they are not.
    pub compression: String,
    /// Which pages were to be left out; `None` where neither file nor manifest says it.
    pub level: Option<u64>,
    /// Size of a page in bytes.
    pub page_size: u64,
    /// Pages of RAM.
    pub pages: u64,
    /// Pages that are in the dump.
    pub kept: u64,
    /// What became of the others, as the manifest has it.
    pub dropped: Option<serde_json::Value>,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was seen.
    pub seen: String,
}

/// Looks at a dump, or at the directory that it was saved in. `every_page` reads all of its pages;
/// that is done too if there is no checksum to compare with.
pub fn inspect(path: &Path, every_page: bool) -> Result<Inspection, Error> {
    let (file, saved) = locate(path)?;
    let core = Vmcore::open(&file)?;
    let headers = core.headers();
    let manifest = saved.as_ref().and_then(|saved| saved.manifest.as_ref());
    let log = read_log(&core);
    let mut checks = Vec::new();
    check_names(saved.as_ref(), core.kdump(), &mut checks);
    let has_checksum = check_sum(&file, manifest, &mut checks)?;
    checks.push(match &log {
        Ok(log) => check("log", true, format!("{} lines", log.lines().count())),
        Err(error) => check("log", false, chain(error)),
    });
    let kept = count_kept(&core)?;
    if every_page || !has_checksum {
        checks.push(check_pages(&core)?);
    }
    let contents = contents(&core, manifest, kept);
    let text = |key| headers.info.text(key).map(str::to_owned);
    Ok(Inspection {
        bytes: headers.size,
        release: text("OSRELEASE"),
        build_id: text("BUILD-ID"),
        machine: MachineName::new(headers.machine, headers.is_64, headers.endianness).to_string(),
        crash_time: manifest::crash_time(&headers.info).map(manifest::timestamp),
        cause: log.as_deref().ok().and_then(cause).map(str::to_owned),
        cpus: headers.each_note().filter(|note| note.n_type == NT_PRSTATUS).count(),
        // PT_LOADs may overlap: the kernel's image is RAM too.
        memory: contents.pages.saturating_mul(headers.page_size),
        contents,
        checks,
        file,
    })
}

/// The log of the kernel that died, as `dmesg` shows it.
pub fn log(path: &Path) -> Result<String, Error> {
    let (file, _) = locate(path)?;
    Ok(read_log(&Vmcore::open(&file)?)?)
}

/// The dump and its directory, if it is in one.
fn locate(path: &Path) -> Result<(PathBuf, Option<Saved>), Error> {
    if path.is_dir() {
        let saved = Saved::open(path)?;
        let dump = saved
            .dump
            .clone()
            .ok_or_else(|| Error::NoDump { path: path.to_owned(), state: saved.state() })?;
        return Ok((dump, Some(saved)));
    }
    let directory = path.parent().filter(|parent| parent.join(MANIFEST).is_file());
    let saved = directory.map(Saved::open).transpose()?;
    // The manifest is of the one dump that it lies beside.
    let saved = saved.filter(|saved| saved.dump.as_deref() == Some(path));
    Ok((path.to_owned(), saved))
}

fn read_log(core: &Vmcore) -> Result<String, printk::Error> {
    let mut memory = KernelMemory::new(core)?;
    let mut log = Bounded::new(MAX_LOG);
    printk::write_log(&mut memory, &mut log)?;
    Ok(String::from_utf8_lossy(&log.text).into_owned())
}

fn check(what: &'static str, good: bool, seen: impl Into<String>) -> Check {
    Check { what, good, seen: seen.into() }
}

/// Whether whoever saved it says that it came to its end.
fn check_names(saved: Option<&Saved>, kdump: Option<&Kdump>, checks: &mut Vec<Check>) {
    if let Some(saved) = saved {
        let state = saved.state();
        checks.push(check("saved", state.starts_with("complete"), state));
    }
    if let Some(kdump) = kdump {
        let complete = kdump.header().status & STATUS_INCOMPLETE == 0;
        let seen = if complete { "marked as complete" } else { "marked as incomplete" };
        checks.push(check("header", complete, seen));
    }
}

/// Compares the file's SHA-256 with the manifest's; returns whether there was one to compare with.
fn check_sum(
    file: &Path,
    manifest: Option<&Manifest>,
    checks: &mut Vec<Check>,
) -> Result<bool, Error> {
    let Some(memory) = manifest.and_then(|manifest| manifest.vmcore.as_ref()) else {
        return Ok(false);
    };
    let found = sha256(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let good = found == memory.sha256;
    let seen = if good { found } else { format!("{found} instead of {}", memory.sha256) };
    checks.push(check("SHA-256", good, seen));
    Ok(true)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Calls `each` with windows of RAM: the first page's number, and which pages the dump has.
fn for_each_window(
    core: &Vmcore,
    mut each: impl FnMut(u64, &[bool]) -> Result<(), vmcore::Error>,
) -> Result<(), vmcore::Error> {
    let mut dumped = [false; CHUNK];
    for range in core.headers().ram() {
        let mut first = range.start;
        while first < range.end {
            let left = usize::try_from(range.end - first).unwrap_or(CHUNK);
            let dumped = &mut dumped[..left.min(CHUNK)];
            core.dumped(first, dumped)?;
            each(first, dumped)?;
            first += dumped.len() as u64;
        }
    }
    Ok(())
}

fn count_kept(core: &Vmcore) -> Result<u64, vmcore::Error> {
    let mut kept = 0;
    for_each_window(core, |_, dumped| {
        kept += dumped.iter().filter(|dumped| **dumped).count() as u64;
        Ok(())
    })?;
    Ok(kept)
}

/// Reads every page that the dump says it has, and tells of the first that cannot be had.
fn check_pages(core: &Vmcore) -> Result<Check, vmcore::Error> {
    let page_size = usize::try_from(core.headers().page_size).unwrap_or(0);
    let mut page = vec![0; page_size];
    let (mut read, mut bad, mut first_reason) = (0u64, 0u64, None);
    for_each_window(core, |first, dumped| {
        for (pfn, _) in (first..).zip(dumped).filter(|(_, dumped)| **dumped) {
            match core.read_pages(pfn, &mut page) {
                Ok(()) => read += 1,
                Err(error) => {
                    bad += 1;
                    first_reason.get_or_insert_with(|| chain(&error));
                }
            }
        }
        Ok(())
    })?;
    Ok(match first_reason {
        None => check("pages", true, format!("all {read} can be read")),
        Some(reason) => check("pages", false, format!("{bad} cannot be read; the first: {reason}")),
    })
}

fn contents(core: &Vmcore, manifest: Option<&Manifest>, kept: u64) -> Contents {
    let headers: &Headers = core.headers();
    let memory = manifest.and_then(|manifest| manifest.vmcore.as_ref());
    let (format, compression, level) = match core.kdump().map(Kdump::header) {
        Some(header) => {
            let compression = method_of(header.status).unwrap_or("none");
            ("kdump", compression, Some(header.dump_level.into()))
        }
        None => ("elf", "none", memory.and_then(|memory| memory.level)),
    };
    Contents {
        format,
        compression: compression.to_owned(),
        level,
        page_size: headers.page_size,
        pages: headers.ram().iter().map(|range| range.end - range.start).sum(),
        kept,
        dropped: memory.and_then(|memory| memory.pages.clone()),
    }
}
