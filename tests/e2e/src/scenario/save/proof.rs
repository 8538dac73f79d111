//! What proves that a disk has what it should have.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use capture::address::Physical;
use capture::format::kdump::STATUS_INCOMPLETE;
use capture::vmcore::{self, Kdump, Vmcore};
use purgatorio::facts::Arch;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::{Error, prove};
use super::cases::OLD_DUMPS;
use crate::cell::Cell;
use crate::dump::{kernel_log, reassembled};
use crate::outcome::{Evidence, explain};
use crate::readers::drgn;

/// One of the dumps is complete: the manifest says so and has the digest of its file; the nonce is
/// in its log, and another reader opens it, unless what a kernel says of itself cannot be found.
pub(in crate::scenario) fn saved(
    dumps: &Path,
    cell: &Cell,
    nonce: Option<&str>,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let (folder, manifest) = newest(dumps)?;
    prove(manifest["complete"] == json!(true), || format!("it is not complete: {manifest:#}"))?;
    let mut path = folder.join(manifest["vmcore"]["file"].as_str().unwrap_or_default());
    let digest: String =
        Sha256::digest(read(&path)?).iter().map(|byte| format!("{byte:02x}")).collect();
    prove(manifest["vmcore"]["sha256"] == json!(digest), || {
        format!("the manifest has not the digest {digest} of the dump: {manifest:#}")
    })?;
    let left = names(&folder)?.into_iter().find(|name| name.contains("incomplete"));
    prove(left.is_none(), || format!("{left:?} is left"))?;
    if path.extension().is_some_and(|extension| extension == "flat") {
        path = reassembled(&path)?;
    }
    if let Some(nonce) = nonce {
        says(&folder.join("vmcore-dmesg.txt"), nonce)?;
        let device = folder.join("device");
        opens(if device.exists() { &device } else { &path }, cell, nonce)?;
    }
    says(&folder.join("kdump.log"), "saving to ")?;
    evidence.insert("dump_bytes".into(), manifest["vmcore"]["bytes"].clone());
    evidence.insert("timeline".into(), manifest["timeline"].clone());
    Ok(())
}

/// makedumpfile finds the log in a dump of a machine like the host, drgn the kernel in any.
fn opens(dump: &Path, cell: &Cell, nonce: &str) -> Result<(), Error> {
    if cell.arch == Arch::X86_64 {
        let log = kernel_log(dump)?;
        return prove(log.contains(nonce), || {
            "makedumpfile --dump-dmesg does not show the nonce".into()
        });
    }
    let seen = drgn::open(dump, 0, None)?;
    let release = cell.kernel.release();
    prove(seen.release == release, || format!("drgn sees {:?} instead of {release}", seen.release))
}

/// Of the older dumps exactly those are left that are to be kept.
pub(super) fn rotated(dumps: &Path, evidence: &mut Evidence) -> Result<(), Error> {
    let (newest, _) = newest(dumps)?;
    let mut names = names(dumps)?;
    names.retain(|name| *name != newest.file_name().unwrap_or_default().to_string_lossy());
    let kept: Vec<&str> =
        OLD_DUMPS.iter().filter(|old| old.stays).map(|old| old.directory).collect();
    prove(names == kept, || format!("beside the new dump there are {names:?}, not {kept:?}"))?;
    evidence.insert("kept".into(), json!(names));
    Ok(())
}

/// The capture's own log has `text`.
pub(super) fn journal_says(dumps: &Path, text: &str, evidence: &mut Evidence) -> Result<(), Error> {
    let (folder, manifest) = newest(dumps)?;
    prove(manifest["complete"] == json!(false), || format!("it is complete: {manifest:#}"))?;
    says(&folder.join("kdump.log"), text)?;
    evidence.insert("kdump.log has".into(), json!(text));
    evidence.insert("failure".into(), manifest["failure"].clone());
    Ok(())
}

/// There is a dump that is named incomplete, and says so in its header. It opens, and has pages. Every
/// page that it says it has can be read, and is as it is in `memory` if that is given: a file that has
/// the machine's memory from physical address 0 on, and the address below which it was used again
/// since the panic.
///
/// (makedumpfile looks for the kernel's page tables before anything else, and they may be among what
/// was not saved yet.)
pub(super) fn incomplete(
    dumps: &Path,
    memory: Option<(&Path, u64)>,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let (folder, manifest) = newest(dumps)?;
    prove(manifest["complete"] == json!(false), || format!("it is complete: {manifest:#}"))?;
    prove(!folder.join("vmcore").exists(), || "it has a file vmcore".into())?;
    let path = folder.join("vmcore-incomplete");
    let core = Vmcore::open(&path).map_err(|error| unreadable(&path, &error))?;
    let header = core.kdump().map(Kdump::header);
    let incomplete = header.is_some_and(|header| header.status & STATUS_INCOMPLETE != 0);
    prove(incomplete, || format!("its header does not say that it is incomplete: {header:?}"))?;
    let page_size = core.headers().page_size;
    let pages = pages_of(&core).map_err(|error| unreadable(&path, &error))?;
    prove(!pages.is_empty(), || "it has no page".into())?;
    let mut saved = vec![0; usize::try_from(page_size).unwrap_or_default()];
    for address in pages.iter().map(|pfn| pfn * page_size) {
        core.read_physical(Physical(address), &mut saved).map_err(|e| unreadable(&path, &e))?;
        if let Some((memory, low)) = memory
            && address >= low
        {
            is_in(memory, address, &saved)?;
        }
    }
    evidence.insert("incomplete_pages".into(), json!(pages.len()));
    Ok(())
}

/// The file `memory` has `page` at `address`.
fn is_in(memory: &Path, address: u64, page: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { path: memory.to_owned(), source };
    let mut expected = vec![0; page.len()];
    let file = File::open(memory).map_err(failed)?;
    file.read_exact_at(&mut expected, address).map_err(failed)?;
    prove(page == expected, || format!("the page at {address:#x} is not as it was in memory"))
}

/// The page frames that the dump says it has.
fn pages_of(core: &Vmcore) -> Result<Vec<u64>, vmcore::Error> {
    const WINDOW: usize = 1024;
    let end = core.kdump().map_or(0, |kdump| kdump.header().max_mapnr);
    let mut pages = Vec::new();
    for first in (0..end).step_by(WINDOW) {
        let mut dumped = [false; WINDOW];
        core.dumped(first, &mut dumped)?;
        pages.extend((first..).zip(dumped).filter_map(|(pfn, dumped)| dumped.then_some(pfn)));
    }
    Ok(pages)
}

fn unreadable(path: &Path, error: &vmcore::Error) -> Error {
    Error::Proof(format!("{} cannot be read: {}", path.display(), explain(error)))
}

/// The directory of the dump that this run made, and its manifest: older ones are of 1999.
fn newest(dumps: &Path) -> Result<(PathBuf, Value), Error> {
    let mut found = None;
    for name in names(dumps)? {
        let folder = dumps.join(name);
        let Ok(text) = fs::read(folder.join("manifest.json")) else { continue };
        let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
        if manifest["started"].as_str().is_some_and(|started| started > "2000") {
            found = Some((folder, manifest));
        }
    }
    let there = names(dumps)?.join(", ");
    found.ok_or_else(|| Error::Proof(format!("no dump of this run is among: {there}")))
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn says(path: &Path, text: &str) -> Result<(), Error> {
    let content = String::from_utf8_lossy(&read(path)?).into_owned();
    prove(content.contains(text), || format!("{} does not have {text:?}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
