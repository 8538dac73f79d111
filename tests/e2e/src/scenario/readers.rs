//! A dump in all levels of filtering, opened by readers that we did not write.
//!
//! The kernel panics as in `crash`, and the whole memory that was saved then is the measure: `kdump
//! save` makes kdump-compressed dumps of it, and every page that libkdumpfile finds in them has to
//! be the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use purgatorio::facts::Arch;
use serde_json::{Value, json};

use super::crash::{self, remove};
use super::{Error, prove};
use crate::cell::Cell;
use crate::dump::{self, Dump};
use crate::lab::Lab;
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::process;
use crate::readers;

/// Everything, one kind of page left out each, and all that can be left out.
const LEVELS: [u8; 7] = [0, 1, 2, 4, 8, 16, 31];

/// The kernel whose package with debug information is fetched: the smallest one.
const WITH_DEBUG_INFORMATION: &str = "cloud";

/// Panics, saves, and asks all readers.
pub fn run(lab: &Lab, cell: &Cell) -> Result<(Vec<Phase>, Evidence), Error> {
    let crash::Crash { phases, mut evidence, dump: core } = crash::prove_dump(lab, cell)?;
    let (nonce, user_page) = marks(&evidence)?;
    let folder = core.with_file_name("");
    let mut dumps = BTreeMap::new();
    for level in LEVELS {
        let dump = folder.join(format!("level-{level}"));
        save(lab, level, &core, &dump)?;
        dumps.insert(level, dump);
    }
    pages_are_equal(&core, &dumps, user_page, &mut evidence)?;
    drgn_reads(&dumps, user_page, cell, &mut evidence)?;
    if cell.arch == Arch::X86_64 {
        // Debian's makedumpfile and crash read dumps of the machine that they run on.
        makedumpfile_reads(&dumps, &nonce, &mut evidence)?;
    }
    if cell.arch == Arch::X86_64 && cell.kernel.label == WITH_DEBUG_INFORMATION {
        let vmlinux = lab.debug_kernel(cell.arch, &cell.kernel)?;
        crash_reads(&vmlinux, &dumps[&31], &nonce, &mut evidence)?;
        drgn_knows(&vmlinux, &dumps[&31], &nonce, &mut evidence)?;
    }
    dumps.values().chain([&core]).try_for_each(|path| remove(path))?;
    Ok((phases, evidence))
}

/// What the guest wrote to the kernel's log, and the physical address of the page that it wrote in
/// its own memory.
fn marks(evidence: &Evidence) -> Result<(String, u64), Error> {
    let text = |key: &str| evidence.get(key).and_then(Value::as_str);
    let address = text("pattern_at").and_then(|address| address.strip_prefix("0x"));
    let address = address.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let nonce = text("nonce_in_saved_log").map(str::to_owned);
    nonce.zip(address).ok_or_else(|| Error::Proof("the crash left no marks to look for".into()))
}

fn save(lab: &Lab, level: u8, core: &Path, dump: &Path) -> Result<(), Error> {
    let mut kdump = Command::new(lab.kdump());
    kdump.args(["save", "-d", &level.to_string()]).arg(core).arg(dump);
    process::output(&mut kdump).map(drop).map_err(|error| Error::Readers(error.into()))
}

/// Every page is in the dump of level 0 as in the core, and in the others as in the core or not at
/// all; what all kinds together leave out, one of them leaves out alone; and the page that the
/// guest wrote in its own memory goes with the user's.
fn pages_are_equal(
    core: &Path,
    dumps: &BTreeMap<u8, PathBuf>,
    user_page: u64,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let loads = Dump::open(core)?.loads;
    let seen = readers::pages::compare(core, &loads, dumps)?;
    let none = |what: &str, pages: &[u64]| {
        prove(pages.is_empty(), || {
            let first = pages.first().copied().unwrap_or_default();
            format!("libkdumpfile: {} pages {what}; the first is at {first:#x}", pages.len())
        })
    };
    for (level, different) in &seen.different {
        none(&format!("of level {level} differ from the core"), different)?;
    }
    none("of the core are not in the dump of level 0", &seen.lost)?;
    none("are in a dump and not in the core", &seen.invented)?;
    none("were dropped as zeroes and are not", &seen.dropped_but_not_zero)?;
    none("were dropped at level 31 and for no single reason, or kept", &seen.unexplained)?;
    prove(seen.in_core > 0 && seen.kept.get(&0) == Some(&seen.in_core), || {
        format!("libkdumpfile sees {:?} of {} pages at level 0", seen.kept.get(&0), seen.in_core)
    })?;
    // Pages of zeroes are left out by having no data of their own: readers find them.
    for (level, kept) in seen.kept.iter().filter(|(level, _)| [8, 16, 31].contains(*level)) {
        prove(*kept < seen.in_core, || format!("level {level} leaves out no page"))?;
    }
    let user_page = user_page - user_page % seen.page_size;
    prove(seen.dropped.contains(&user_page), || {
        format!("the user's page at {user_page:#x} is in the dump of level 31")
    })?;
    evidence.insert("libkdumpfile_architecture".into(), json!(seen.architecture));
    evidence.insert("pages_in_core".into(), json!(seen.in_core));
    evidence.insert("pages_kept_by_level".into(), json!(seen.kept));
    evidence.insert("user_page_dropped".into(), json!(format!("{user_page:#x}")));
    Ok(())
}

/// drgn opens the dumps: it sees the kernel, and the user's page only at level 0.
fn drgn_reads(
    dumps: &BTreeMap<u8, PathBuf>,
    user_page: u64,
    cell: &Cell,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let kernel = &cell.kernel;
    let all = readers::drgn::open(&dumps[&0], user_page, None)?;
    let least = readers::drgn::open(&dumps[&31], user_page, None)?;
    for seen in [&all, &least] {
        prove(seen.release == kernel.release(), || {
            format!("drgn sees {:?}, not a dump of {}", seen.release, kernel.release())
        })?;
    }
    // drgn 0.0.22 reads no physical address of this machine with pages of 4 KiB, of either dump. Why
    // is not known: libkdumpfile, which drgn reads with, finds every page.
    let reads = all.bytes.is_some() || (all.page_size == 4096 && cell.arch == Arch::Ppc64le);
    evidence.insert("drgn_reads_the_user_page".into(), json!(all.bytes.is_some()));
    prove(reads && least.bytes.is_none(), || {
        format!("drgn reads {:?} of the user's page at level 0, {:?} at 31", all.bytes, least.bytes)
    })?;
    evidence.insert("drgn_page_size".into(), json!(all.page_size));
    Ok(())
}

/// makedumpfile finds the log in our filtered dump, and filters our complete dump once more.
fn makedumpfile_reads(
    dumps: &BTreeMap<u8, PathBuf>,
    nonce: &str,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let log = dump::kernel_log(&dumps[&31])?;
    prove(log.contains(nonce), || "makedumpfile --dump-dmesg does not show the nonce".into())?;
    let again = dumps[&31].with_file_name("refiltered");
    let mut makedumpfile = Command::new("makedumpfile");
    makedumpfile.args(["-f", "-c", "-d", "31"]).arg(&dumps[&0]).arg(&again);
    process::output(&mut makedumpfile).map_err(|error| Error::Readers(error.into()))?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (ours, theirs) = (size(&dumps[&31]), size(&again));
    evidence.insert("makedumpfile_refiltered_bytes".into(), json!(theirs));
    evidence.insert("level_31_bytes".into(), json!(ours));
    remove(&again)
}

/// crash finds the log, the tasks, and where the kernel panicked.
fn crash_reads(
    vmlinux: &Path,
    dump: &Path,
    nonce: &str,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let said = readers::crash::ask(vmlinux, dump, &["log", "ps", "bt"])?;
    for wanted in [nonce, phases::PANIC, "[swapper/0]", "COMMAND: \"init\"", "sysrq_handle_crash"] {
        prove(said.contains(wanted), || format!("crash does not show {wanted:?}"))?;
    }
    evidence.insert("crash_lines".into(), json!(said.lines().count()));
    Ok(())
}

/// drgn with debug information finds the same.
fn drgn_knows(
    vmlinux: &Path,
    dump: &Path,
    nonce: &str,
    evidence: &mut Evidence,
) -> Result<(), Error> {
    let seen = readers::drgn::open(dump, 0, Some(vmlinux))?;
    prove(seen.log.contains(nonce), || "drgn does not find the nonce in the log".into())?;
    prove(seen.crashed == "init", || format!("drgn sees {:?} crashed", seen.crashed))?;
    let handler = Some("sysrq_handle_crash".to_owned());
    prove(seen.stack.contains(&handler), || format!("drgn sees the stack {:?}", seen.stack))?;
    evidence.insert("drgn_tasks".into(), json!(seen.tasks.len()));
    Ok(())
}
