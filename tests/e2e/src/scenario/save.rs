//! A kernel panics, and the dump goes to one of many kinds of disk, or cannot go there: then the
//! machine comes back all the same, and says why.

pub mod cases;
pub(super) mod proof;

use std::fs;
use std::path::{Path, PathBuf};

use e2e_guest::{Script, Step};
use serde_json::json;

use super::crash::{load_command, loaded, nonce, panic_now, plan_command, remove};
use super::guest::{run_step, show_step, value, waits};
use super::{Error, PATIENCE, prove};
use crate::capture_image::Wanted;
use crate::cell::Cell;
use crate::lab::{Lab, Watch};
use crate::medium::Medium;
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::{End, Qemu};

/// What a machine's disks are, where its dump is to go, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The disks: /dev/vda, /dev/vdb, … by their buses.
    pub media: &'static [Medium],
    /// What each target is, `-f`, and where, `-c`.
    pub targets: &'static [(&'static str, &'static str)],
    /// More options of `kdump mkinitrd`.
    pub options: &'static [&'static str],
    /// `crashkernel=` of the first kernel, if the usual one does not do.
    pub crashkernel: Option<&'static str>,
    /// More QEMU arguments.
    pub qemu: &'static [&'static str],
    /// What goes wrong that the disks do not do by themselves.
    pub fault: Fault,
    /// Lines of the capture kernel's console that must come, in this order.
    pub says: &'static [&'static str],
    /// What must be on the disks.
    pub expected: Expected,
}

impl From<&Case> for Wanted<'static> {
    fn from(case: &Case) -> Self {
        Self { targets: case.targets, options: case.options }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The first disk has older dumps.
    OldDumps,
    /// The dead kernel's vmcoreinfo is overwritten before the capture kernel sees it.
    Vmcoreinfo,
    /// Power is cut while the dump is written.
    PowerCut,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A dump on the disk of this number, and a reset.
    Saved {
        /// Number of the disk.
        disk: usize,
        /// Whether the dead kernel's log is beside it.
        log: bool,
    },
    /// No dump; the machine ends so.
    Lost {
        /// How it ends.
        end: End,
        /// The disk that has a log of the capture with this text.
        journal: Option<(usize, &'static str)>,
    },
    /// On the first disk a dump that is named incomplete and says so itself; the pages that it says
    /// it has are as they were in memory.
    Incomplete,
    /// On the first disk such a dump, with a log of the capture that has this text; on the second
    /// disk a complete one, and a reset.
    OnSecond(&'static str),
}

/// Runs the case and proves what is expected.
pub fn run(lab: &Lab, cell: &Cell, case: &Case) -> Result<(Vec<Phase>, Evidence), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let images = make_disks(case, &folder)?;
    let cell = with_disks(cell, case, &images)?;
    let nonce = nonce();
    let steps = vec![
        Step::Nonce { text: nonce.clone() },
        show_step(VMCOREINFO),
        run_step("plan", plan_command(&cell)),
        run_step("load", load_command(&cell)),
        show_step("/sys/kernel/kexec_crash_loaded"),
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ];
    let mut qemu = lab.boot(&cell, &folder, &Script { steps }, &[], None, Watch::Debug)?;
    let vmcoreinfo = value(&mut qemu, &format!("e2e: show {VMCOREINFO} "))?;
    let layout = loaded(&mut qemu, &cell)?
        .ok_or_else(|| Error::Proof("the loader did not say what is where".into()))?;
    waits(&mut qemu, "panic")?;
    if case.fault == Fault::Vmcoreinfo {
        spoil(&mut qemu, layout.entry, &vmcoreinfo)?;
    } else {
        panic_now(&mut qemu, &cell)?;
    }

    let mut evidence = Evidence::new();
    for text in case.says {
        let line = qemu.serial.wait_for(text, PATIENCE)?;
        evidence.insert(format!("says {text:?}"), json!(line.text));
    }
    let dumps = |disk: usize, medium: &Medium| {
        let to = folder.join(format!("dumps-{disk}"));
        medium.extract(&images[disk], &to).map(|()| to)
    };
    match case.expected {
        Expected::Saved { disk, log } => {
            ends(&mut qemu, End::Reset)?;
            let dumps = dumps(disk, &case.media[disk])?;
            proof::saved(&dumps, &cell, log.then_some(nonce.as_str()), &mut evidence)?;
            if case.fault == Fault::OldDumps {
                proof::rotated(&dumps, &mut evidence)?;
            }
            remove_all(&dumps)?;
        }
        Expected::Lost { end, journal } => {
            ends(&mut qemu, end)?;
            let saved = qemu.serial.lines().iter().any(|line| line.text.contains("kdump: saved "));
            prove(!saved, || "the capture side says that it saved a dump".into())?;
            if let Some((disk, text)) = journal {
                let dumps = dumps(disk, &case.media[disk])?;
                proof::journal_says(&dumps, text, &mut evidence)?;
                remove_all(&dumps)?;
            }
        }
        Expected::Incomplete => {
            let memory = folder.join("memory");
            qemu.qmp.save_memory(0, cell.memory << 20, &memory)?;
            // Dropped, it is killed at once; what it wrote is in the image.
            let phases = phases::crash(&phases::from_serial(qemu.serial.lines()));
            drop(qemu);
            let dumps = dumps(0, &case.media[0])?;
            let low = cell.profile().low_memory.size;
            proof::incomplete(&dumps, Some((&memory, low)), &mut evidence)?;
            remove(&memory)?;
            remove_all(&dumps)?;
            images.iter().try_for_each(|image| remove(image))?;
            return Ok((phases, evidence));
        }
        Expected::OnSecond(why) => {
            ends(&mut qemu, End::Reset)?;
            let first = dumps(0, &case.media[0])?;
            proof::incomplete(&first, None, &mut evidence)?;
            proof::journal_says(&first, why, &mut evidence)?;
            remove_all(&first)?;
            let second = dumps(1, &case.media[1])?;
            proof::saved(&second, &cell, Some(&nonce), &mut evidence)?;
            remove_all(&second)?;
        }
    }
    images.iter().try_for_each(|image| remove(image))?;
    Ok((phases::crash(&phases::from_serial(qemu.serial.lines())), evidence))
}

/// Where the kernel says where its vmcoreinfo note is (kernel 6.1 kernel/ksysfs.c): physical
/// address and size, hexadecimal.
const VMCOREINFO: &str = "/sys/kernel/vmcoreinfo";

/// Header and name of the note.
const NOTE_HEADER: u64 = 24;

fn make_disks(case: &Case, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut images = Vec::new();
    for (number, medium) in case.media.iter().enumerate() {
        let image = folder.join(format!("disk-{number}.img"));
        let old = match case.fault {
            Fault::OldDumps if number == 0 => Some(cases::old_dumps(folder)?),
            Fault::OldDumps | Fault::None | Fault::Vmcoreinfo | Fault::PowerCut => None,
        };
        medium.make(&image, old.as_deref())?;
        images.push(image);
    }
    Ok(images)
}

fn with_disks(cell: &Cell, case: &Case, images: &[PathBuf]) -> Result<Cell, Error> {
    let mut cell = cell.clone();
    for (number, (medium, image)) in case.media.iter().zip(images).enumerate() {
        cell.qemu_arguments.extend(medium.arguments(number, image)?);
    }
    cell.qemu_arguments.extend(case.qemu.iter().map(|argument| (*argument).to_owned()));
    Ok(cell)
}

/// Panics, and overwrites the vmcoreinfo note when purgatory is entered: the dying kernel writes it
/// anew before.
fn spoil(qemu: &mut Qemu, entry: u64, vmcoreinfo: &str) -> Result<(), Error> {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let (note, size) = vmcoreinfo
        .split_once(' ')
        .and_then(|(note, size)| Some((hex(note)?, hex(size)?)))
        .ok_or_else(|| Error::Proof(format!("{VMCOREINFO} says {vmcoreinfo:?}")))?;
    let text = usize::try_from(size.saturating_sub(2 * NOTE_HEADER)).unwrap_or_default();
    let mut gdb = qemu.gdb()?;
    qemu.serial.send("go")?;
    gdb.run_to(entry)?;
    gdb.write(note + NOTE_HEADER, &vec![0xff; text])?;
    Ok(gdb.detach()?)
}

pub(super) fn ends(qemu: &mut Qemu, wanted: End) -> Result<(), Error> {
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == wanted, || format!("the machine ended by {end:?} instead of {wanted:?}"))
}

pub(super) fn remove_all(folder: &Path) -> Result<(), Error> {
    fs::remove_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })
}
