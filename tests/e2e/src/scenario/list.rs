//! The scenarios by name, and how each changes the machine.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use purgatorio::image::{Image, unpack};

use super::corrupt::{self, Damage, Expected};
use super::{Error, bad_input, crash, reboot};
use crate::cell::{Cell, FirmwareKind, Syscall};
use crate::lab::{ARCH, Lab, Watch};
use crate::loader::Maker;
use crate::outcome::{Evidence, Outcome, Verdict, explain};
use crate::phases::Phase;

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `--entry-mode direct`.
    Direct,
    /// `--entry-mode bzimage`.
    BzImage,
    /// `--entry-32bit`.
    Protected,
    /// `-s`: the running kernel's own purgatory.
    FileLoad,
    /// `-c`.
    Load,
    /// `-a`.
    Auto,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A panic on the machine as it is.
    Crash,
    /// `-l` and `-e` with a bzImage.
    Reboot,
    /// `-l` and `-e` with an ELF vmlinux.
    RebootVmlinux,
    /// A panic, with this way into the capture kernel.
    Entry(Entry),
    /// Four CPUs, and CPU 3 panics.
    Smp,
    /// 6 GiB of RAM.
    Memory,
    /// OVMF.
    Uefi,
    /// 5-level paging.
    La57,
    /// Both kernels at random addresses.
    Kaslr,
    /// Damage after the load.
    Corrupt(Damage, Expected),
    /// Loads that must fail.
    BadInput,
}

const fn corrupt(segment: &'static str) -> Scenario {
    Scenario::Corrupt(Damage::Segment(segment), Expected::Reset)
}

/// Every scenario by name.
pub const ALL: [(&str, Scenario); 25] = [
    ("crash", Scenario::Crash),
    ("reboot", Scenario::Reboot),
    ("reboot-vmlinux", Scenario::RebootVmlinux),
    ("entry-direct", Scenario::Entry(Entry::Direct)),
    ("entry-bzimage", Scenario::Entry(Entry::BzImage)),
    ("entry-32bit", Scenario::Entry(Entry::Protected)),
    ("entry-s", Scenario::Entry(Entry::FileLoad)),
    ("entry-c", Scenario::Entry(Entry::Load)),
    ("entry-a", Scenario::Entry(Entry::Auto)),
    ("smp", Scenario::Smp),
    ("memory", Scenario::Memory),
    ("uefi", Scenario::Uefi),
    ("la57", Scenario::La57),
    ("kaslr", Scenario::Kaslr),
    ("corrupt-kernel", corrupt("kernel")),
    ("corrupt-initrd", corrupt("initrd")),
    ("corrupt-boot_params", corrupt("boot_params")),
    ("corrupt-elfcorehdr", corrupt("elfcorehdr")),
    ("corrupt-purgatory", Scenario::Corrupt(Damage::Purgatory, Expected::Reset)),
    ("corrupt-params", Scenario::Corrupt(Damage::Params, Expected::Reset)),
    ("corrupt-halt", Scenario::Corrupt(Damage::Harmless, Expected::Halt)),
    ("corrupt-ignore", Scenario::Corrupt(Damage::Harmless, Expected::GoesOn)),
    ("corrupt-unchecked", Scenario::Corrupt(Damage::Harmless, Expected::NotLooked)),
    ("exception", Scenario::Corrupt(Damage::BackupDestination, Expected::Exception)),
    ("bad-input", Scenario::BadInput),
];

/// No scenario has this name.
#[derive(Debug, thiserror::Error)]
#[error("no scenario is called {name:?}; there are {}", ALL.map(|(name, _)| name).join(", "))]
pub struct Unknown {
    name: String,
}

impl FromStr for Scenario {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        let found = ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, scenario)| *scenario).ok_or_else(|| Unknown { name: name.into() })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ALL.iter().find(|(_, scenario)| scenario == self);
        f.pad(found.map_or("unnamed", |(name, _)| name))
    }
}

impl Scenario {
    /// Whether kexec-tools has what the scenario tries.
    pub fn suits_the_peer(self) -> bool {
        match self {
            Self::Corrupt(..) | Self::Entry(Entry::Direct) => false,
            Self::Crash
            | Self::Reboot
            | Self::RebootVmlinux
            | Self::Entry(_)
            | Self::Smp
            | Self::Memory
            | Self::Uefi
            | Self::La57
            | Self::Kaslr
            | Self::BadInput => true,
        }
    }

    /// Runs on `cell`, changed as the scenario asks, and reports.
    pub fn run(self, lab: &Lab, cell: &Cell) -> Outcome {
        let cell = self.adapt(cell);
        let (result, phases, evidence, dump, reason) = match self.try_run(lab, &cell) {
            Ok(Report { phases, evidence, dump }) => (Verdict::Pass, phases, evidence, dump, None),
            Err(error) => (Verdict::Fail, Vec::new(), Evidence::new(), None, Some(explain(&error))),
        };
        Outcome {
            result,
            scenario: self.to_string(),
            arch: ARCH.name().into(),
            kernel: cell.kernel.release(),
            loader: cell.loader.maker.name().into(),
            phases,
            evidence,
            reason,
            logs: lab.dir.join(&cell.name),
            dump,
        }
    }

    /// The machine and the loader's options that the scenario needs.
    fn adapt(self, cell: &Cell) -> Cell {
        let mut cell = cell.clone();
        match self {
            Self::Crash | Self::Reboot | Self::RebootVmlinux | Self::BadInput => {}
            Self::Entry(Entry::Direct) => option(&mut cell, "--entry-mode=direct"),
            // The peer knows no other way than the bzImage's.
            Self::Entry(Entry::BzImage) if cell.loader.maker == Maker::Ours => {
                option(&mut cell, "--entry-mode=bzimage");
            }
            Self::Entry(Entry::BzImage) => {}
            Self::Entry(Entry::Protected) => option(&mut cell, "--entry-32bit"),
            Self::Entry(Entry::FileLoad) => cell.syscall = Syscall::FileLoad,
            Self::Entry(Entry::Load) => cell.syscall = Syscall::Load,
            Self::Entry(Entry::Auto) => cell.syscall = Syscall::Auto,
            Self::Smp => (cell.smp, cell.panic_cpu) = (4, 3),
            Self::Memory => cell.memory = 6144,
            Self::Uefi => cell.firmware = FirmwareKind::Uefi,
            Self::La57 => cell.cpu = "max,la57=on".into(),
            Self::Kaslr => cell.kaslr = true,
            Self::Corrupt(_, Expected::Halt) => option(&mut cell, "--on-mismatch=halt"),
            Self::Corrupt(_, Expected::GoesOn) => option(&mut cell, "--on-mismatch=ignore"),
            Self::Corrupt(_, Expected::NotLooked) => option(&mut cell, "-i"),
            Self::Corrupt(_, Expected::Reset | Expected::Exception) => {}
        }
        cell
    }

    fn try_run(self, lab: &Lab, cell: &Cell) -> Result<Report, Error> {
        match self {
            Self::Crash
            | Self::Entry(_)
            | Self::Smp
            | Self::Memory
            | Self::Uefi
            | Self::La57
            | Self::Kaslr => crashed(lab, cell),
            Self::Reboot => rebooted(lab, cell),
            Self::RebootVmlinux => {
                let mut cell = Cell { second_kernel: unpacked(lab, cell)?, ..cell.clone() };
                if cell.loader.maker == Maker::Peer {
                    // Without it no boot_params are passed and the kernel dies silently.
                    option(&mut cell, "--args-linux");
                }
                rebooted(lab, &cell)
            }
            Self::Corrupt(damage, expected) => {
                let (phases, evidence) = corrupt::run(lab, cell, damage, expected)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::BadInput => {
                let evidence = bad_input::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
        }
    }
}

struct Report {
    phases: Vec<Phase>,
    evidence: Evidence,
    dump: Option<PathBuf>,
}

/// Proves the dump; on one CPU then once more undisturbed, for the phases.
fn crashed(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let crash::Crash { phases, evidence, dump } = crash::prove_dump(lab, cell)?;
    let phases =
        if cell.measured { crash::measure(lab, cell, crash::Until::Reset)? } else { phases };
    if cell.keep_dump {
        return Ok(Report { phases, evidence, dump: Some(dump) });
    }
    crash::remove(&dump)?;
    Ok(Report { phases, evidence, dump: None })
}

fn rebooted(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let watch = if cell.measured { Watch::Instructions } else { Watch::Plain };
    let reboot::Reboot { phases, evidence } = reboot::run(lab, cell, watch)?;
    Ok(Report { phases, evidence, dump: None })
}

fn option(cell: &mut Cell, option: &str) {
    cell.loader_options.push(option.to_owned());
}

/// The cell's kernel as an ELF file of its own.
fn unpacked(lab: &Lab, cell: &Cell) -> Result<PathBuf, Error> {
    let path = cell.kernel.image.clone();
    let failed = |reason: String| Error::Unpack { path: path.clone(), reason };
    let file = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
    let Image::BzImage(image) = Image::detect(&file).map_err(|e| failed(explain(&e)))? else {
        return Ok(path);
    };
    let payload = image.payload.ok_or_else(|| failed("has no payload".into()))?;
    let vmlinux = unpack::unpack(payload, usize::MAX, &mut |_| {})
        .map_err(|error| failed(explain(&error)))?;
    let to = lab.dir.join(format!("vmlinux-{}", cell.kernel.release()));
    fs::write(&to, vmlinux).map_err(|source| Error::File { path: to.clone(), source })?;
    Ok(to)
}
