//! `e2e`: one cell.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::arch::{FirmwareKind, profile, usual_kernel};
use e2e::cell::Cell;
use e2e::kernel::Kernel;
use e2e::lab::Lab;
use e2e::loader::{Loader, Maker};
use e2e::outcome::Verdict;
use e2e_guest::Trigger;
use purgatorio::facts::Arch;

use crate::error::Error;
use crate::options::{E2eOptions, FirmwareName, TriggerName};

/// Runs the scenario; the outcome goes to the JSON file or to standard output.
pub fn e2e(options: &E2eOptions) -> Result<bool, Error> {
    let arch = Arch::from(options.arch);
    if let Some(reason) = options.scenario.unsuited_to(arch) {
        return Err(Error::Options(format!("{} is not for {arch}: {reason}", options.scenario)));
    }
    let lab = Lab::prepare()?;
    let cell = cell(&lab, options)?;
    if cell.loader.maker == Maker::Peer && !options.scenario.suits_the_peer() {
        return Err(Error::Options(format!(
            "scenario {} tries what only our loader has; leave out --loader",
            options.scenario
        )));
    }
    let outcome = options.scenario.run(&lab, &cell);
    let json = serde_json::to_string_pretty(&outcome)?;
    match &options.json {
        None => println!("{json}"),
        Some(path) => fs::write(path, json + "\n")
            .map_err(|source| Error::Write { path: path.clone(), source })?,
    }
    if let Some(reason) = &outcome.reason {
        eprintln!("{}: FAIL: {reason}\nlogs: {}", outcome.scenario, outcome.logs.display());
    }
    Ok(outcome.result == Verdict::Pass)
}

fn cell(lab: &Lab, options: &E2eOptions) -> Result<Cell, Error> {
    let arch = options.arch.into();
    let kernel = kernel(lab, arch, options)?;
    let loader = loader(lab, arch, options.loader.as_deref())?;
    let scenario = options.scenario;
    let name = format!("{arch}-{scenario}-{}-{}", kernel.label, loader.maker.name());
    let capture_initrd = lab.capture_initrd(arch, &kernel)?;
    let mut cell = lab.cell(arch, &name, kernel, loader, capture_initrd);
    if let Some(file) = &options.capture_kernel {
        cell.second_kernel = file.clone();
    }
    if let Some(memory) = options.memory {
        cell.memory = memory;
    }
    if let Some(smp) = options.smp {
        cell.smp = smp;
    }
    match options.crashkernel.as_deref() {
        None => {}
        Some("none") => cell.crashkernel = None,
        Some(size) => cell.crashkernel = Some(size.to_owned()),
    }
    if let Some(cpu) = &options.cpu {
        cell.cpu = cpu.clone();
    }
    if let Some(firmware) = options.firmware {
        cell.firmware = firmware_kind(firmware);
    }
    cell.trigger = match options.trigger {
        TriggerName::Sysrq => Trigger::Sysrq,
        TriggerName::InitExit => Trigger::InitExit,
        TriggerName::Nmi => Trigger::Nmi,
        TriggerName::Oom => Trigger::Oom,
    };
    cell.append = options.append.clone().unwrap_or_default();
    cell.qemu_arguments = options.qemu_arg.clone();
    cell.loader_options = options.loader_arg.clone();
    // The counting run has one CPU and, without an NMI from outside, needs no help.
    let countable = cell.smp == 1 && scenario.has_one_cpu() && cell.trigger != Trigger::Nmi;
    cell.measured = countable && !options.no_instructions;
    cell.keep_dump = true;
    Ok(cell)
}

fn firmware_kind(name: FirmwareName) -> FirmwareKind {
    match name {
        FirmwareName::Bios => FirmwareKind::Bios,
        FirmwareName::Uefi => FirmwareKind::Uefi,
        FirmwareName::Vof => FirmwareKind::Vof,
        FirmwareName::Slof => FirmwareKind::Slof,
        FirmwareName::Opal => FirmwareKind::Opal,
    }
}

fn kernel(lab: &Lab, arch: Arch, options: &E2eOptions) -> Result<Kernel, Error> {
    let name = options.kernel.as_deref().unwrap_or(usual_kernel(arch));
    let known = profile(arch).kernels.iter().any(|(label, _)| *label == name);
    match (known, &options.modules) {
        (true, None) => Ok(lab.kernel(arch, name)?),
        (true, Some(_)) => Err(Error::Options("--modules goes with a file as --kernel".into())),
        (false, Some(modules)) => Ok(Kernel {
            label: "given".into(),
            image: absolute(Path::new(name))?,
            modules: absolute(modules)?,
        }),
        (false, None) => Err(Error::Options(format!(
            "--kernel {name} needs --modules DIR, the …/lib/modules/RELEASE that goes with it"
        ))),
    }
}

/// Our loader, the fetched peer, or a program of the guest's architecture with this machine's
/// libraries.
fn loader(lab: &Lab, arch: Arch, path: Option<&Path>) -> Result<Loader, Error> {
    match path {
        None => Ok(lab.our_loader(arch)?),
        Some(path) if path == Path::new("peer") => Ok(lab.peer(arch)?),
        Some(path) => {
            let loader = Loader::new(arch, Maker::Peer, &absolute(path)?, Path::new("/"));
            Ok(loader.map_err(e2e::lab::Error::from)?)
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Read { path: path.to_owned(), source })
}
