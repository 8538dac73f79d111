//! `e2e`: one cell.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::cell::{Cell, FirmwareKind};
use e2e::kernel::Kernel;
use e2e::lab::Lab;
use e2e::loader::{Loader, Maker};
use e2e::outcome::Verdict;
use e2e::scenario::list::Scenario;
use e2e_guest::Trigger;
use purgatorio::options::Arch;

use crate::error::Error;
use crate::options::{E2eOptions, FirmwareName, TriggerName};

/// Runs the scenario; the outcome goes to the JSON file or to standard output.
pub fn e2e(options: &E2eOptions) -> Result<bool, Error> {
    if options.arch != Arch::X86_64 {
        return Err(Error::Options("the scenarios run on x86_64 machines only, as yet".into()));
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
    let kernel = kernel(lab, options)?;
    let loader = loader(lab, options.loader.as_deref())?;
    let name = format!("{}-{}-{}", options.scenario, kernel.label, loader.maker.name());
    let capture_initrd = lab.capture_initrd(&kernel)?;
    let mut cell = lab.cell(&name, kernel, loader, capture_initrd);
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
    cell.firmware = match options.firmware {
        None | Some(FirmwareName::Bios) => FirmwareKind::Bios,
        Some(FirmwareName::Uefi) => FirmwareKind::Uefi,
    };
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
    let countable =
        cell.smp == 1 && options.scenario != Scenario::Smp && cell.trigger != Trigger::Nmi;
    cell.measured = countable && !options.no_instructions;
    cell.keep_dump = true;
    Ok(cell)
}

fn kernel(lab: &Lab, options: &E2eOptions) -> Result<Kernel, Error> {
    match (options.kernel.as_str(), &options.modules) {
        (flavour @ ("generic" | "cloud"), None) => Ok(lab.debian_kernel(flavour)?),
        ("generic" | "cloud", Some(_)) => {
            Err(Error::Options("--modules goes with a file as --kernel".into()))
        }
        (file, Some(modules)) => Ok(Kernel {
            label: "given".into(),
            image: absolute(Path::new(file))?,
            modules: absolute(modules)?,
        }),
        (file, None) => Err(Error::Options(format!(
            "--kernel {file} needs --modules DIR, the …/lib/modules/RELEASE that goes with it"
        ))),
    }
}

/// Our loader, the fetched peer, or a program of this machine with this machine's libraries.
fn loader(lab: &Lab, path: Option<&Path>) -> Result<Loader, Error> {
    match path {
        None => Ok(lab.our_loader()?),
        Some(path) if path == Path::new("peer") => Ok(lab.peer()?),
        Some(path) => {
            let loader = Loader::new(Maker::Peer, &absolute(path)?, Path::new("/"));
            Ok(loader.map_err(e2e::lab::Error::from)?)
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Read { path: path.to_owned(), source })
}
