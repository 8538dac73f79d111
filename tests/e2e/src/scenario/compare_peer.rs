//! What kexec-tools and our loader load as a crash kernel in one guest, byte by byte out of its
//! memory. Every difference is known and explained in docs/differences.md, or the scenario fails.

mod boot_params;
mod core_headers;
mod segments;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use e2e_guest::{Script, Step};
use purgatorio::facts::Arch;
use serde_json::json;

use self::boot_params::BootParams;
use self::segments::Loaded;
use super::crash::{plan_command, telling_load_command};
use super::guest::{ran_with, run_step, waits};
use super::{Error, PATIENCE, prove};
use crate::cell::Cell;
use crate::first_boot::GuestFile;
use crate::lab::{Lab, Watch};
use crate::layout::{self, Layout};
use crate::outcome::Evidence;
use crate::qemu::{End, Qemu};

const PEER: &str = "/sbin/peer";

/// A difference: what differs, by a name that is always the same, and how it differs this time.
type Difference = (String, String);

/// Where a difference is known.
const BOTH: &[Arch] = &[Arch::X86_64, Arch::I386];
const X86_64: &[Arch] = &[Arch::X86_64];
const I386: &[Arch] = &[Arch::I386];

/// Every known difference; the tables of docs/differences.md explain each.
const KNOWN: &[(&str, &[Arch])] = &[
    ("segment boot_params", BOTH),
    ("segment command line", BOTH),
    ("segment elfcorehdr", BOTH),
    ("segment purgatory", BOTH),
    ("segment setup_data", BOTH),
    ("segment backup: loaded bytes", BOTH),
    ("segment kernel: loaded bytes", X86_64),
    // It does not count what the kernel unpacks itself to (`init_size`).
    ("segment kernel", I386),
    ("boot_params.boot_flag", BOTH),
    ("boot_params.cl_magic", BOTH),
    ("boot_params.code32_start", BOTH),
    ("boot_params.ext_mem_k", BOTH),
    ("boot_params.loadflags", BOTH),
    ("boot_params.root_dev", BOTH),
    ("boot_params.root_flags", BOTH),
];

/// Loads a crash kernel by either program and compares.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let peer = Cell { loader: lab.peer(cell.arch)?, ..cell.clone() };
    let mut peers_command = telling_load_command(&peer);
    peers_command[0] = PEER.into();
    // The same way in as the peer's, so that the kernel can be compared too.
    let ours = Cell { loader_options: vec!["--entry-mode=bzimage".into()], ..cell.clone() };
    let wait = |name: &str| Step::Wait { name: name.into() };
    let steps = vec![
        run_step("peer", peers_command),
        wait("peer"),
        run_step("plan", plan_command(&ours)),
        run_step("ours", telling_load_command(&ours)),
        wait("ours"),
    ];
    let mut files = vec![GuestFile::program(PEER, &peer.loader.program)];
    let libraries = peer.loader.libraries.iter();
    files.extend(libraries.map(|(path, file)| GuestFile::program(path, file)));
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &files, None, Watch::Plain)?;

    let peers = layout::from_debug_output(&ran_with(&mut qemu, "peer", 0)?.output);
    let peers = loaded(&mut qemu, cell, &folder, "peer", peers)?;
    let plan = layout::from_plan(&ran_with(&mut qemu, "plan", 0)?.output);
    ran_with(&mut qemu, "ours", 0)?;
    let ours = loaded(&mut qemu, cell, &folder, "ours", plan)?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::PowerOff, || format!("the machine ended by {end:?}, not by power-off"))?;

    let mut differences = segments::compare(&peers, &ours);
    differences.extend(boot_params::compare(
        &BootParams::of(&peers).ok_or_else(|| missing("peer", "boot_params"))?,
        &BootParams::of(&ours).ok_or_else(|| missing("ours", "boot_params"))?,
    ));
    differences.extend(core_headers::compare(&folder, &peers, &ours)?);
    judge(cell.arch, differences)
}

fn missing(whose: &str, what: &str) -> Error {
    Error::Proof(format!("{whose}: no segment has {what}"))
}

/// Reads the loaded segments out of the guest's memory while it waits.
fn loaded(
    qemu: &mut Qemu,
    cell: &Cell,
    folder: &Path,
    whose: &str,
    layout: Option<Layout>,
) -> Result<Loaded, Error> {
    let layout = layout.ok_or_else(|| Error::Proof(format!("{whose}: no plan in its output")))?;
    waits(qemu, whose)?;
    let mut memory = Vec::new();
    for (index, segment) in layout.segments.iter().enumerate() {
        let file = folder.join(format!("{whose}-{index}"));
        // Nothing is loaded into the backup.
        if segment.bufsz > 0 {
            qemu.qmp.save_memory(segment.address, segment.bufsz, &file)?;
            memory.push(fs::read(&file).map_err(|source| Error::File { path: file, source })?);
        } else {
            memory.push(Vec::new());
        }
    }
    qemu.serial.send("go")?;
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
    };
    let (kernel, initrd) = (read(&cell.second_kernel)?, read(&cell.capture_initrd)?);
    Ok(Loaded::new(&layout, memory, &kernel, &initrd))
}

/// Fails at a difference that is not known, and at a known one that is none any more.
fn judge(arch: Arch, differences: Vec<Difference>) -> Result<Evidence, Error> {
    let found: BTreeMap<String, String> = differences.into_iter().collect();
    let known = |name: &str| KNOWN.iter().any(|(other, on)| *other == name && on.contains(&arch));
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|(name, _)| !known(name))
        .map(|(name, how)| format!("unknown difference: {name}: {how}"))
        .collect();
    let gone = KNOWN.iter().filter(|(name, on)| on.contains(&arch) && !found.contains_key(*name));
    wrong.extend(gone.map(|(name, _)| format!("does not differ any more: {name}")));
    prove(wrong.is_empty(), || wrong.join("\n"))?;
    Ok(Evidence::from_iter([("differences".into(), json!(found))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_difference_is_explained() {
        let text = include_str!("../../../../docs/differences.md");
        let rows: Vec<&str> = text.lines().filter_map(|line| line.split('|').nth(1)).collect();
        for (name, _) in KNOWN {
            let (_, part) = name.split_once(['.', ' ']).expect("a table's name is in front");
            assert!(rows.iter().any(|row| row.contains(part)), "no row of a table is about {name}");
        }
    }

    #[test]
    fn an_unknown_difference_and_a_vanished_one_fail() {
        let known = |arch| {
            let here = KNOWN.iter().filter(move |(_, on)| on.contains(&arch));
            here.map(|(name, _)| ((*name).to_owned(), String::new())).collect::<Vec<_>>()
        };
        for arch in [Arch::X86_64, Arch::I386] {
            assert!(judge(arch, known(arch)).is_ok());
            let more = [known(arch), vec![("boot_params.version".into(), "2 and 3".into())]];
            assert!(judge(arch, more.concat()).is_err());
            assert!(judge(arch, known(arch)[1..].to_vec()).is_err());
        }
    }
}
