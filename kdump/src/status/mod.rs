//! Whether a panic now would leave a dump, and if not, why not.

mod finding;
mod space;

use capture::block::superblock::Family;
use capture::config::{Config, Target};
use capture::console::chain;
use purgatorio::machine::{MachineError, status};
use purgatorio::plan;
use serde::Serialize;

pub use finding::{Finding, Severity};

use crate::estimate::estimate;
use crate::loaded::{self, Loaded};
use crate::machine::{Machine, ReadError};
use crate::prepare::{self, Prepared, Programs, node_of, prepare, superblock};
use crate::settings::{self, Settings};

/// The state cannot be told at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel's own files cannot be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A file of the machine cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record of what is loaded cannot be read.
    #[error(transparent)]
    Record(#[from] loaded::Error),
}

/// The answer, and the exit code that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A panic would leave a dump.
    WouldWork = 0,
    /// No capture kernel is loaded.
    NotLoaded = 1,
    /// One is loaded, and the dump would fail, or would not be what the settings want.
    WouldFail = 2,
    /// One is loaded, and it is not known which.
    Unknown = 3,
}

/// The state of a machine.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether a panic would leave a dump.
    pub verdict: Verdict,
    /// Whether the kernel has a capture kernel, whoever loaded it.
    pub loaded: bool,
    /// Bytes reserved for one; 0 without a reservation.
    pub reserved: u64,
    /// What `kdump load` loaded; `None` if it did not.
    pub capture: Option<Loaded>,
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
}

/// Looks at everything that a dump depends on.
pub fn check(
    machine: &Machine,
    settings: &Result<Settings, settings::Error>,
    programs: &Programs,
) -> Result<Status, Error> {
    let root = machine.sysroot();
    let reserved = status::crash_size(&root)?;
    let loaded = status::loaded(&root, plan::Target::Crash)?.unwrap_or(false);
    let capture = if loaded { Loaded::read(machine)? } else { None };
    let mut findings = Vec::new();
    match (reserved, loaded) {
        (None, _) => findings.push(Finding::NoKexec),
        (Some(0), false) => findings.push(Finding::NotReserved),
        (Some(_), false) => findings.push(Finding::NotLoaded),
        (Some(_), true) if capture.is_none() => findings.push(Finding::NotRecorded),
        (Some(_), true) => {}
    }
    let reserved = reserved.unwrap_or(0);
    match settings {
        Err(error) => findings.push(Finding::Settings { reason: chain(error) }),
        Ok(settings) => {
            let now = prepare(machine, settings, programs);
            match &now {
                Err(error) => findings.push(Finding::CannotPrepare { reason: chain(error) }),
                Ok(now) => compare(machine, capture.as_ref(), reserved, now, &mut findings)?,
            }
            // What cannot be prepared may be for want of them.
            if let Ok(config) = prepare::config(machine, settings) {
                targets(machine, &config, &mut findings)?;
            }
        }
    }
    let verdict = verdict(loaded, capture.is_some(), &findings);
    Ok(Status { verdict, loaded, reserved, capture, findings })
}

fn verdict(loaded: bool, recorded: bool, findings: &[Finding]) -> Verdict {
    match (loaded, recorded) {
        (false, _) => Verdict::NotLoaded,
        (true, false) => Verdict::Unknown,
        (true, true) if findings.iter().any(|f| f.severity() == Severity::Problem) => {
            Verdict::WouldFail
        }
        (true, true) => Verdict::WouldWork,
    }
}

/// What is loaded and reserved against what should be.
fn compare(
    machine: &Machine,
    capture: Option<&Loaded>,
    reserved: u64,
    now: &Prepared,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    // What cannot be estimated has no defect to tell.
    if let Ok(needed) = estimate(machine, now)
        && (1..needed.total).contains(&reserved)
    {
        findings.push(Finding::TooSmall { reserved, needed: needed.total });
    }
    let Some(capture) = capture else { return Ok(()) };
    let differences = capture.differences(&now.wanted);
    if !differences.is_empty() {
        findings.push(Finding::Stale { differences });
    }
    if capture.hardware != now.wanted.hardware && !updates_headers(machine)? {
        findings.push(Finding::HardwareChanged);
    }
    Ok(())
}

/// Whether the kernel brings what is loaded up to date on hotplug: it says so only when it does.
fn updates_headers(machine: &Machine) -> Result<bool, ReadError> {
    let says = machine.text("sys/devices/system/memory/crash_hotplug")?;
    Ok(says.is_some_and(|text| text.trim() == "1"))
}

/// One target that works is enough; what is wrong with the others is worth knowing.
fn targets(
    machine: &Machine,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let mut wrong = Vec::new();
    let mut usable = 0usize;
    for target in &config.targets {
        match target_fault(machine, config, target)? {
            Some(finding) => wrong.push(finding),
            None => usable += 1,
        }
    }
    if usable == 0 {
        wrong.push(Finding::NoTarget);
    }
    findings.extend(wrong);
    Ok(())
}

fn target_fault(
    machine: &Machine,
    config: &Config,
    target: &Target,
) -> Result<Option<Finding>, ReadError> {
    // What is on another machine cannot be asked without disturbing it.
    if target.device().is_none() {
        return Ok(None);
    }
    let name = target.to_string();
    let Some(node) = node_of(machine, target) else {
        return Ok(Some(Finding::TargetMissing { target: name }));
    };
    if let Target::Filesystem { filesystem, .. } = target {
        let found = superblock(&node).map(|found| found.family);
        if found != Some(Family::of(*filesystem)) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            return Ok(Some(Finding::OtherFilesystem { target: name, found }));
        }
    }
    let needed = crate::dump_size::forecast(machine, config)?;
    let free = space::free(machine, target, &node)?;
    Ok(match (needed, free) {
        (Some(needed), Some(free)) if free < needed => {
            Some(Finding::NoSpace { target: name, free, needed })
        }
        (_, _) => None,
    })
}
