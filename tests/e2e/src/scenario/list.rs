//! The scenarios by name, and how each changes the machine.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use e2e_guest::{ModuleTrigger, Trigger};
use purgatorio::facts::Arch;
use purgatorio::image::{Image, unpack};

use super::corrupt::{self, Damage, Expected};
use super::early::{self, Early};
use super::network;
use super::save::{self, Case, cases};
use super::{
    Error, bad_input, compare_peer, crash, dropin, kept, operator, package, payloads, readers,
    reboot, rehearse, secure_boot, trigger,
};
use crate::arch::{FirmwareKind, small_kernel, usual_kernel};
use crate::cell::{Cell, Syscall};
use crate::lab::{Lab, Watch};
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

/// Programs of the 32-bit architecture on a 64-bit machine that can run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// A 32-bit loader on the 64-bit kernel.
    Loader,
    /// A 32-bit capture kernel, loaded by the 64-bit loader.
    Capture,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A panic on the machine as it is.
    Crash,
    /// `-l` and `-e` with the kernel's file as it is.
    Reboot,
    /// `-l` and `-e` with an ELF vmlinux.
    RebootVmlinux,
    /// `-l` and `-e` on four CPUs, which must all come up again.
    RebootSmp,
    /// A panic, with this way into the capture kernel.
    Entry(Entry),
    /// Four CPUs, and CPU 3 panics.
    Smp,
    /// RAM above 4 GiB, or RAM in several nodes.
    Memory,
    /// OVMF.
    Uefi,
    /// Secure Boot and lockdown, and what else forbids a load.
    SecureBoot,
    /// 5-level paging.
    La57,
    /// Both kernels at random addresses.
    Kaslr,
    /// The hash table as MMU.
    Hash,
    /// Started by SLOF.
    Slof,
    /// Without a hypervisor, started by OPAL.
    Powernv,
    /// A panic where some programs are 32-bit ones.
    Compat(Compat),
    /// Damage after the load.
    Corrupt(Damage, Expected),
    /// Loads that must fail.
    BadInput,
    /// A dump opened by readers that we did not write.
    Readers,
    /// What `kdump rehearse` foretells.
    Rehearse,
    /// A kernel dies in one of the other ways.
    Trigger(trigger::Case),
    /// The capture kernel is loaded in the initrd.
    Early(Early),
    /// `kdump load` and `kdump status` on the machine itself, and a panic.
    Operator,
    /// Our Debian package is installed, upgraded, removed and purged.
    Package,
    /// Debian's own scripts and systemd call our loader.
    Dropin,
    /// A panic with other disks and targets.
    Save(&'static Case),
    /// What kexec-tools loads and what we load, side by side.
    ComparePeer,
    /// Loads of a kernel that an earlier load has unpacked.
    Kept,
    /// Kernels that print in what state they were entered.
    Payloads,
    /// A panic with a server as the target.
    Network(&'static network::Case),
}

const fn corrupt(segment: &'static str) -> Scenario {
    Scenario::Corrupt(Damage::Segment(segment), Expected::Reset)
}

const fn dies(trigger: Trigger) -> Scenario {
    Scenario::Trigger(trigger::Case::Dies(trigger))
}

const fn dies_of_module(how: ModuleTrigger) -> Scenario {
    dies(Trigger::Module(how))
}

/// Where a scenario makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Everywhere.
    All,
    /// On these; the reason says why not elsewhere.
    Only(&'static [Arch], &'static str),
}

const X86_64: &[Arch] = &[Arch::X86_64];
const X86: &[Arch] = &[Arch::X86_64, Arch::I386];
const PPC64: &[Arch] = &[Arch::Ppc64le, Arch::Ppc64];

/// Where a trigger's way from the panic on is that of others.
const AS_ON_X86_64: &str = "what follows the panic is what follows `trigger-oom`";
/// Where Debian's initrd is not made: mkinitramfs would have to run programs of that machine.
const EARLY_ELSEWHERE: &str = "Debian's initrd is made on a machine of its kind";
/// Where no Debian system is made: its packages' scripts would have to run on that machine.
const DEBIAN_ELSEWHERE: &str = "a Debian system is made on a machine of its kind";
const NETWORK: On = On::Only(X86_64, "the ssh client that is packed is the host's");

const SAME_DISKS: &str = "disks and file systems are the same on every machine";
const DISKS: On = On::Only(X86_64, SAME_DISKS);
/// What is written to a disk has one byte order.
const RAW: On = On::Only(&[Arch::X86_64, Arch::Ppc64le, Arch::Ppc64], SAME_DISKS);
/// A file system with blocks of 4 KiB, and pages of 64 KiB.
const LARGE_PAGES: On = On::Only(&[Arch::X86_64, Arch::Ppc64le], SAME_DISKS);

/// Every scenario by name, and the machines it is for.
#[rustfmt::skip] // one line each
pub const ALL: &[(&str, Scenario, On)] = &[
    ("crash", Scenario::Crash, On::All),
    ("reboot", Scenario::Reboot, On::All),
    ("reboot-vmlinux", Scenario::RebootVmlinux, On::Only(X86, "the kernel's file is a vmlinux")),
    ("reboot-smp", Scenario::RebootSmp, On::All),
    ("entry-direct", Scenario::Entry(Entry::Direct), On::Only(X86, "there is one way in")),
    ("entry-bzimage", Scenario::Entry(Entry::BzImage), On::Only(X86, "there is no bzImage")),
    ("entry-32bit", Scenario::Entry(Entry::Protected), On::Only(X86_64, "there is no 32-bit entry beside another")),
    ("entry-s", Scenario::Entry(Entry::FileLoad), On::Only(X86_64, "the kernel has no kexec_file_load, or its core headers are marked with the wrong byte order")),
    ("entry-c", Scenario::Entry(Entry::Load), On::All),
    ("entry-a", Scenario::Entry(Entry::Auto), On::All),
    ("smp", Scenario::Smp, On::All),
    ("memory", Scenario::Memory, On::All),
    ("uefi", Scenario::Uefi, On::Only(X86_64, "the machine has other firmware")),
    ("secure-boot", Scenario::SecureBoot, On::Only(X86_64, "the machine has other firmware")),
    ("la57", Scenario::La57, On::Only(X86_64, "there is no 5-level paging")),
    ("kaslr", Scenario::Kaslr, On::Only(X86, "the kernel stays where it is loaded")),
    ("hash", Scenario::Hash, On::Only(PPC64, "there is no such MMU")),
    ("slof", Scenario::Slof, On::Only(PPC64, "the machine has other firmware")),
    ("powernv", Scenario::Powernv, On::Only(PPC64, "the machine has other firmware")),
    ("compat-loader", Scenario::Compat(Compat::Loader), On::Only(X86_64, "the kernel runs no 32-bit loader")),
    ("compat-capture", Scenario::Compat(Compat::Capture), On::Only(X86_64, "there is no 32-bit kernel for the machine")),
    ("corrupt-kernel", corrupt("kernel"), On::All),
    ("corrupt-initrd", corrupt("initrd"), On::All),
    ("corrupt-boot_params", corrupt("boot_params"), On::Only(X86, "there is a device tree instead")),
    ("corrupt-dtb", corrupt("dtb"), On::Only(PPC64, "there are boot_params instead")),
    ("corrupt-elfcorehdr", corrupt("elfcorehdr"), On::All),
    ("corrupt-purgatory", Scenario::Corrupt(Damage::Purgatory, Expected::Reset), On::All),
    ("corrupt-params", Scenario::Corrupt(Damage::Params, Expected::Reset), On::All),
    ("corrupt-halt", Scenario::Corrupt(Damage::Harmless, Expected::Halt), On::All),
    ("corrupt-ignore", Scenario::Corrupt(Damage::Harmless, Expected::GoesOn), On::All),
    ("corrupt-unchecked", Scenario::Corrupt(Damage::Harmless, Expected::NotLooked), On::All),
    ("exception", Scenario::Corrupt(Damage::BackupDestination, Expected::Exception), On::Only(&[Arch::X86_64, Arch::Ppc64le, Arch::Ppc64], "purgatory has no paging, and no address faults")),
    ("illegal-instruction", Scenario::Corrupt(Damage::Instruction, Expected::Exception), On::All),
    ("nmi", Scenario::Corrupt(Damage::Nmi, Expected::Undisturbed), On::Only(X86, "an interrupt that cannot be masked is the hypervisor's business")),
    ("bad-input", Scenario::BadInput, On::All),
    ("readers", Scenario::Readers, On::All),
    ("rehearse", Scenario::Rehearse, On::Only(&[Arch::X86_64, Arch::I386, Arch::Ppc64le], "the kernel has no modules, by which the disk's controller is chosen")),
    ("trigger-init-exit", dies(Trigger::InitExit), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-oom", dies(Trigger::Oom), On::All),
    ("trigger-nmi", dies(Trigger::Nmi), On::Only(X86_64, "an interrupt that cannot be masked is a PC's business, and the same on both")),
    ("trigger-null", dies_of_module(ModuleTrigger::Null), On::Only(&[Arch::X86_64, Arch::I386, Arch::Ppc64le], "there are no headers to build the module with")),
    ("trigger-bug", dies_of_module(ModuleTrigger::Bug), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-warn", dies_of_module(ModuleTrigger::Warn), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-panic", dies_of_module(ModuleTrigger::Panic), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-hung-task", dies_of_module(ModuleTrigger::HungTask), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-soft-lockup", dies_of_module(ModuleTrigger::SoftLockup), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-while-loading", Scenario::Trigger(trigger::Case::WhileLoading), On::Only(X86_64, AS_ON_X86_64)),
    ("trigger-in-capture", Scenario::Trigger(trigger::Case::InCapture), On::Only(X86_64, AS_ON_X86_64)),
    ("early-user-space", Scenario::Early(Early::UserSpace), On::Only(X86_64, EARLY_ELSEWHERE)),
    ("early-root", Scenario::Early(Early::Root), On::Only(X86_64, EARLY_ELSEWHERE)),
    ("early-unseen", Scenario::Early(Early::Unseen), On::Only(X86_64, EARLY_ELSEWHERE)),
    ("early-not-loaded", Scenario::Early(Early::NotLoaded), On::Only(X86_64, EARLY_ELSEWHERE)),
    ("operator", Scenario::Operator, On::All),
    ("package", Scenario::Package, On::Only(X86_64, DEBIAN_ELSEWHERE)),
    ("dropin", Scenario::Dropin, On::Only(X86_64, DEBIAN_ELSEWHERE)),
    ("save-partuuid", Scenario::Save(&cases::PARTUUID), DISKS),
    ("save-xfs", Scenario::Save(&cases::XFS), LARGE_PAGES),
    ("save-btrfs", Scenario::Save(&cases::BTRFS), DISKS),
    ("save-vfat", Scenario::Save(&cases::VFAT), DISKS),
    ("save-raw", Scenario::Save(&cases::RAW), RAW),
    ("save-raw-occupied", Scenario::Save(&cases::RAW_OCCUPIED), DISKS),
    ("save-keep", Scenario::Save(&cases::KEEP), DISKS),
    ("save-96M", Scenario::Save(&cases::SMALL), DISKS),
    ("save-missing", Scenario::Save(&cases::MISSING), DISKS),
    ("save-action", Scenario::Save(&cases::ACTION), DISKS),
    ("save-module", Scenario::Save(&cases::MODULE), DISKS),
    ("save-read-only", Scenario::Save(&cases::READ_ONLY), DISKS),
    ("save-too-small", Scenario::Save(&cases::TOO_SMALL), DISKS),
    ("save-broken", Scenario::Save(&cases::BROKEN), DISKS),
    ("save-full", Scenario::Save(&cases::FULL), DISKS),
    ("save-vmcoreinfo", Scenario::Save(&cases::VMCOREINFO), DISKS),
    ("save-hang", Scenario::Save(&cases::HANG), DISKS),
    ("save-oom", Scenario::Save(&cases::OUT_OF_MEMORY), DISKS),
    ("save-watchdog", Scenario::Save(&cases::WATCHDOG), DISKS),
    ("save-power-cut", Scenario::Save(&cases::POWER_CUT), DISKS),
    ("payloads", Scenario::Payloads, On::Only(X86, "the protocols are those of PCs")),
    ("compare-peer", Scenario::ComparePeer, On::Only(X86, "boot_params are a PC's")),
    ("kept", Scenario::Kept, On::Only(X86, "the kernel is not packed")),
    ("net-nfs", Scenario::Network(&network::NFS), NETWORK),
    ("net-nfs3", Scenario::Network(&network::NFS3), NETWORK),
    ("net-ssh", Scenario::Network(&network::SSH), NETWORK),
    ("net-no-link", Scenario::Network(&network::NO_LINK), NETWORK),
    ("net-no-dhcp", Scenario::Network(&network::NO_DHCP), NETWORK),
    ("net-no-server", Scenario::Network(&network::NO_SERVER), NETWORK),
    ("net-nfs-gone", Scenario::Network(&network::NFS_GONE), NETWORK),
    ("net-ssh-gone", Scenario::Network(&network::SSH_GONE), NETWORK),
    ("net-other-host", Scenario::Network(&network::OTHER_HOST), NETWORK),
];

fn names() -> Vec<&'static str> {
    ALL.iter().map(|(name, ..)| *name).collect()
}

/// No scenario has this name.
#[derive(Debug, thiserror::Error)]
#[error("no scenario is called {name:?}; there are {}", names().join(", "))]
pub struct Unknown {
    name: String,
}

impl FromStr for Scenario {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        let found = ALL.iter().find(|(known, ..)| *known == name);
        found.map(|(_, scenario, _)| *scenario).ok_or_else(|| Unknown { name: name.into() })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ALL.iter().find(|(_, scenario, _)| scenario == self);
        f.pad(found.map_or("unnamed", |(name, ..)| name))
    }
}

impl Scenario {
    /// Why the scenario makes no sense on `arch`; `None` where it does.
    pub fn unsuited_to(self, arch: Arch) -> Option<&'static str> {
        ALL.iter().find_map(|(_, scenario, on)| match on {
            On::Only(archs, reason) if *scenario == self && !archs.contains(&arch) => Some(*reason),
            On::Only(..) | On::All => None,
        })
    }

    /// Whether the kernel's release, page size or compression matters enough to try it on every
    /// kernel.
    pub fn depends_on_kernel(self) -> bool {
        matches!(self, Self::Crash | Self::Reboot | Self::Smp | Self::Hash | Self::Readers)
    }

    /// The kernel that it runs on if the kernel does not matter: the one that boots soonest, but the
    /// usual one, which is packed hardest, for what is about kernels as files.
    pub fn kernel(self, arch: Arch) -> &'static str {
        match self {
            // Kernels before 6.3 have no limit of loads.
            Self::SecureBoot => "backports",
            Self::Entry(Entry::Direct | Entry::BzImage)
            | Self::RebootVmlinux
            | Self::Kept
            | Self::BadInput => usual_kernel(arch),
            _about_machines_and_dumps => small_kernel(arch),
        }
    }

    /// Whether it leaves the machine with as many CPUs as it has: one, unless asked otherwise.
    pub fn has_one_cpu(self) -> bool {
        !matches!(self, Self::Smp | Self::RebootSmp)
    }

    /// Whether kexec-tools has what the scenario tries.
    pub fn suits_the_peer(self) -> bool {
        !matches!(
            self,
            Self::Corrupt(..)
                | Self::Entry(Entry::Direct)
                | Self::ComparePeer
                | Self::Early(_)
                | Self::Kept
                | Self::Network(_)
                | Self::Operator
                | Self::Payloads
                | Self::Package
                | Self::Dropin
                | Self::Rehearse
                | Self::Save(_)
                | Self::SecureBoot
                | Self::Trigger(_)
        )
    }

    /// The architectures whose programs it needs on a machine of `arch`.
    pub fn needs(self, arch: Arch) -> Vec<Arch> {
        match self {
            Self::Compat(_) if self.unsuited_to(arch).is_none() => vec![arch, Arch::I386],
            _of_one_architecture => vec![arch],
        }
    }

    /// Runs on `cell`, changed as the scenario asks, and reports.
    pub fn run(self, lab: &Lab, cell: &Cell) -> Outcome {
        let adapted = self.adapt(lab, cell);
        let machine = adapted.as_ref().unwrap_or(cell).firmware.machine();
        let report = adapted.and_then(|cell| self.try_run(lab, &cell));
        let (result, phases, evidence, dump, reason) = match report {
            Ok(Report { phases, evidence, dump }) => (Verdict::Pass, phases, evidence, dump, None),
            Err(error) => (Verdict::Fail, Vec::new(), Evidence::new(), None, Some(explain(&error))),
        };
        Outcome {
            result,
            scenario: self.to_string(),
            arch: cell.arch.name(),
            machine,
            label: cell.kernel.label.clone(),
            kernel: cell.kernel.release(),
            loader: cell.loader.maker.name(),
            phases,
            evidence,
            reason,
            logs: lab.dir.join(&cell.name),
            dump,
        }
    }

    /// The machine, the programs and the loader's options that the scenario needs.
    fn adapt(self, lab: &Lab, cell: &Cell) -> Result<Cell, Error> {
        let mut cell = cell.clone();
        match self {
            Self::Crash
            | Self::ComparePeer
            | Self::Payloads
            | Self::Reboot
            | Self::Readers
            | Self::Rehearse
            | Self::Trigger(_) => {}
            // Several kernels lie in the initramfs, and for a while the initramfs twice in memory.
            Self::BadInput | Self::Operator => cell.memory = 1024,
            // So does the unpacked one. All of it has kernel addresses on i386 too, up to 896 MiB.
            Self::Kept => cell.memory = if cell.arch == Arch::I386 { 832 } else { 1024 },
            // It boots nothing.
            Self::Package => {}
            Self::Dropin => dropin::machine(&mut cell),
            // Debian's initrd is large.
            Self::Early(_) => cell.memory = 768,
            Self::RebootVmlinux => {
                cell.second_kernel = unpacked(lab, &cell)?;
                if cell.loader.maker == Maker::Peer {
                    // Without it no boot_params are passed and the kernel dies silently.
                    option(&mut cell, "--args-linux");
                }
            }
            Self::RebootSmp => cell.smp = 4,
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
            Self::Memory => more_memory(&mut cell),
            Self::Uefi => cell.firmware = FirmwareKind::Uefi,
            Self::SecureBoot => secure_boot::adapt(lab, &mut cell)?,
            Self::La57 => cell.cpu = "max,la57=on".into(),
            Self::Kaslr => cell.kaslr = true,
            Self::Hash => cell.cpu = "POWER8".into(),
            Self::Slof => cell.firmware = FirmwareKind::Slof,
            // skiboot takes the top of the first GiB's lower half for itself.
            Self::Powernv => (cell.firmware, cell.memory) = (FirmwareKind::Opal, 1024),
            Self::Compat(Compat::Loader) => cell.loader = lab.our_loader(Arch::I386)?,
            Self::Compat(Compat::Capture) => {
                let kernel = lab.usual_kernel(Arch::I386)?;
                cell.capture_initrd = lab.capture_initrd(Arch::I386, &kernel)?;
                cell.second_kernel = kernel.image;
            }
            Self::Corrupt(_, Expected::Halt) => option(&mut cell, "--on-mismatch=halt"),
            Self::Corrupt(_, Expected::GoesOn) => option(&mut cell, "--on-mismatch=ignore"),
            Self::Corrupt(_, Expected::NotLooked) => option(&mut cell, "-i"),
            Self::Save(case) => {
                let kernel = cell.kernel.clone();
                cell.capture_initrd =
                    lab.capture_image(&cell.name, cell.arch, &kernel, case.into())?;
                cell.crashkernel = case.crashkernel.map(str::to_owned).or(cell.crashkernel);
            }
            // Its image is made when the server has its port.
            Self::Network(_) => {}
            Self::Corrupt(_, Expected::Reset | Expected::Exception | Expected::Undisturbed) => {}
        }
        Ok(cell)
    }

    fn try_run(self, lab: &Lab, cell: &Cell) -> Result<Report, Error> {
        match self {
            Self::Crash
            | Self::Entry(_)
            | Self::Smp
            | Self::Memory
            | Self::Uefi
            | Self::La57
            | Self::Kaslr
            | Self::Hash
            | Self::Slof
            | Self::Powernv
            | Self::Compat(_) => crashed(lab, cell),
            Self::Reboot | Self::RebootVmlinux | Self::RebootSmp => rebooted(lab, cell),
            Self::Corrupt(damage, expected) => {
                let (phases, evidence) = corrupt::run(lab, cell, damage, expected)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Trigger(case) => {
                let (phases, evidence) = trigger::run(lab, cell, case)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Early(early) => {
                let early::Report { phases, evidence } = early::run(lab, cell, early)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Operator => {
                let (phases, evidence, dump) = operator::run(lab, cell)?;
                Ok(Report { phases, evidence, dump: kept_dump(cell, dump)? })
            }
            Self::Package => {
                let evidence = package::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
            Self::Dropin => {
                let evidence = dropin::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
            Self::Save(case) => {
                let (phases, evidence) = save::run(lab, cell, case)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Readers => {
                let (phases, evidence) = readers::run(lab, cell)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Rehearse => {
                let (phases, evidence) = rehearse::run(lab, cell)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Kept => of_crash(cell, kept::run(lab, cell)?),
            Self::SecureBoot => of_crash(cell, secure_boot::run(lab, cell)?),
            Self::Network(case) => {
                let (phases, evidence) = network::run(lab, cell, case)?;
                Ok(Report { phases, evidence, dump: None })
            }
            Self::Payloads => {
                let evidence = payloads::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
            Self::ComparePeer => {
                let evidence = compare_peer::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
            Self::BadInput => {
                let evidence = bad_input::run(lab, cell)?;
                Ok(Report { phases: Vec::new(), evidence, dump: None })
            }
        }
    }
}

/// Memory on both sides of 4 GiB on a PC; in two nodes, one of them pluggable, on a pSeries.
fn more_memory(cell: &mut Cell) {
    match cell.arch {
        Arch::X86_64 | Arch::I386 => {
            // Half of it above 4 GiB, without the minutes that a dump of 6 GiB takes.
            cell.memory = 2048;
            cell.qemu_arguments.extend(["-machine", "max-ram-below-4g=1G"].map(String::from));
        }
        Arch::Ppc64le | Arch::Ppc64 => {
            cell.memory = 1024;
            let arguments = [
                // QEMU joins this with the size: pluggable memory is described in another way.
                "-m",
                "slots=2,maxmem=4096M",
                "-object",
                "memory-backend-ram,id=m0,size=512M",
                "-object",
                "memory-backend-ram,id=m1,size=512M",
                "-numa",
                "node,nodeid=0,memdev=m0",
                "-numa",
                "node,nodeid=1,memdev=m1",
            ];
            cell.qemu_arguments.extend(arguments.map(String::from));
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
    let mut crash = crash::prove_dump(lab, cell)?;
    if cell.measured {
        crash.phases = crash::measure(lab, cell, crash::Until::Reset)?;
    }
    of_crash(cell, crash)
}

fn of_crash(cell: &Cell, crash: crash::Crash) -> Result<Report, Error> {
    let crash::Crash { phases, evidence, dump } = crash;
    Ok(Report { phases, evidence, dump: kept_dump(cell, dump)? })
}

/// The dump, if the cell keeps it.
fn kept_dump(cell: &Cell, dump: PathBuf) -> Result<Option<PathBuf>, Error> {
    if cell.keep_dump {
        return Ok(Some(dump));
    }
    crash::remove(&dump)?;
    Ok(None)
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
