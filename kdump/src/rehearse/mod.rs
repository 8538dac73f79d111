//! Rehearses a crash: this machine's kernel, capture image and configuration in a virtual machine,
//! with a scratch disk in the target's place. The real machine is only read from.
//!
//! In reading order: a [`shape`] says what the scratch disk must look like, a [`controller`] what it
//! hangs on, and [`scratch`] makes it; a [`machine`] is what QEMU is told; one [`boot`] loads the
//! capture kernel by [`capture::rehearsal`], panics, and has its [`story`] read from the
//! [`serial`] console; [`search`] repeats it for the smallest `crashkernel=`; the [`report`] says
//! what came of it.

pub mod boot;
pub mod controller;
pub mod machine;
pub mod report;
pub mod scratch;
pub mod search;
pub mod serial;
pub mod shape;
pub mod stage;
pub mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use boot::{Boot, Patience};
use machine::Accelerator;
use report::{Report, Trial};
use stage::Stage;
use story::Story;

/// How long a kernel may take to its first line under KVM: it takes a second.
const KVM_FIRST_LINE: Duration = Duration::from_secs(15);

/// How long a machine may take to restart after its capture: longer than `panic=10`.
const END: Duration = Duration::from_secs(20);

/// To what the smallest `crashkernel=` is found, in MiB.
const STEP: u64 = 4;

/// No kernel starts in less, in MiB.
const LEAST: u64 = 16;

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct Request {
    /// The kernel that panics, and the one that saves it.
    pub kernel: PathBuf,
    /// The capture image's name.
    pub image: PathBuf,
    /// The capture image.
    pub image_bytes: Vec<u8>,
    /// The static `kexec` that loads it.
    pub kexec: PathBuf,
    /// More options for it.
    pub kexec_options: Vec<String>,
    /// The kernel's modules, …/lib/modules/RELEASE: looked at where the image has no driver for a
    /// disk of QEMU's.
    pub modules: Option<PathBuf>,
    /// The capture kernel's command line, without a console.
    pub append: String,
    /// What the first kernel reserves, in MiB.
    pub crashkernel: u64,
    /// RAM of the machine in MiB; `None` for what `crashkernel` needs.
    pub memory: Option<u64>,
    /// Number of CPUs.
    pub smp: usize,
    /// What runs it; `None` for the best that works.
    pub accelerator: Option<Accelerator>,
    /// How long one boot may take.
    pub timeout: Duration,
    /// The most boots to spend on the search for the smallest `crashkernel=`; 0 for no search.
    pub search: u32,
}

/// Why there can be no rehearsal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine cannot be made.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The machine cannot be run.
    #[error(transparent)]
    Boot(#[from] boot::Error),
}

/// Rehearses in `folder`, where all logs lie afterwards; `tell` gets a line for each step.
pub fn run(request: &Request, folder: &Path, tell: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let mut stage = Stage::set(request, folder)?;
    tell(&stage.summary());
    let mut boot = panic(&stage, request, request.crashkernel, END, tell)?;
    if is_mute(&boot) && request.accelerator.is_none() && stage.accelerator == Accelerator::Kvm {
        tell("KVM does not run this kernel here: with TCG instead");
        stage.accelerator = Accelerator::Tcg;
        boot = panic(&stage, request, request.crashkernel, END, tell)?;
    }
    let mut report = Report::new(request, &stage, &boot);
    if request.search > 0 {
        find_crashkernel(&stage, request, &boot, &mut report, tell)?;
    }
    Ok(report)
}

/// One boot with `crashkernel` MiB reserved, and with `end` for the machine to end.
fn panic(
    stage: &Stage,
    request: &Request,
    crashkernel: u64,
    end: Duration,
    tell: &mut dyn FnMut(&str),
) -> Result<Boot, Error> {
    let ready = stage.machine(crashkernel, request.memory)?;
    let first_line = match stage.accelerator {
        Accelerator::Kvm => KVM_FIRST_LINE,
        Accelerator::Tcg => request.timeout,
    };
    let patience = Patience { all: request.timeout, first_line, end };
    let mut reached = |story: &Story| {
        if let Some(step) = story.steps.last() {
            tell(&format!("{:7.1} s  {}", step.at.as_secs_f64(), step.name));
        }
    };
    let boot = boot::run(&ready.machine, &ready.folder, patience, &mut reached);
    ready.strike()?;
    Ok(boot?)
}

fn is_mute(boot: &Boot) -> bool {
    boot.story.steps.is_empty()
}

/// Below what works, or above what does not.
fn find_crashkernel(
    stage: &Stage,
    request: &Request,
    first: &Boot,
    report: &mut Report,
    tell: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let (low, high) = match first.worked() {
        true => (LEAST, request.crashkernel),
        false => (request.crashkernel, stage::most_crashkernel(request)),
    };
    if low >= high {
        return Ok(());
    }
    tell(&format!(
        "looking for the smallest crashkernel= between {low}M and {high}M, in at most {} boots",
        request.search
    ));
    let mut trials = Vec::new();
    let found = search::smallest(low, high, first.worked(), STEP, request.search, |size| {
        // Whether it restarts was seen before.
        let boot = panic(stage, request, size, Duration::ZERO, &mut |_| {})?;
        let trial = Trial::new(size, &boot);
        tell(&format!("  {trial}"));
        trials.push(trial);
        Ok::<_, Error>(boot.worked())
    })?;
    report.smallest_crashkernel = found.smallest;
    report.trials = trials;
    Ok(())
}
