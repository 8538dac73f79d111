//! The process that saves the dump: one pass from the modules to the manifest.
//!
//! It writes plain lines to its standard output; the supervisor shows them, and takes each as a
//! sign of life.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{self, Config, Target};
use crate::console::chain;
use crate::dump::{self, Stage};
use crate::filter::Level;
use crate::manifest::{self, Dump, Kernel, Log, Manifest};
use crate::target::{self, Destination};
use crate::timeline::Timeline;
use crate::vmcore::{self, Vmcore};
use crate::{kernel_modules, supervisor};

/// Exit code of a worker that failed and said why.
pub const FAILED: u8 = 1;

/// How often progress is shown: a serial console is slow, and its lines cost time.
const PROGRESS: Duration = Duration::from_secs(5);

/// Why nothing, or not everything, was saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No target was configured.
    #[error("no target is configured: set target in {}, or kdump.target=", config::PATH)]
    NoTarget,
    /// The core cannot be used.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// A target did not get everything.
    #[error("{target}")]
    Target {
        /// Which, as it is configured.
        target: String,
        /// Why.
        source: target::Error,
    },
}

/// Saves the dump, and says how it went. `init_started` is when process 1 began, in milliseconds of
/// the kernel's clock.
pub fn run(init_started: Option<&str>) -> ExitCode {
    let (config, _) = supervisor::load_config();
    let init_started = init_started.and_then(|text| text.parse().ok()).map(Duration::from_millis);
    match save(&config, init_started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("failed: {}", chain(&error)));
            ExitCode::from(FAILED)
        }
    }
}

fn save(config: &Config, init_started: Option<Duration>) -> Result<(), Error> {
    // Before anything else: without a core there is nothing to do.
    let core = Vmcore::open(Path::new(vmcore::PATH))?;
    let mut timeline = Timeline::new(manifest::crash_time(&core.headers().info));
    init_started.into_iter().for_each(|at| timeline.reached_at("init started", at));
    for error in kernel_modules::load(Path::new(config::MODULES), &config.modules) {
        report(chain(&error));
    }
    timeline.reached("modules loaded");
    let tried = if config.on_failure.next_target { config.targets.len() } else { 1 };
    let mut failure = Error::NoTarget;
    for (number, target) in config.targets.iter().take(tried).enumerate() {
        if number > 0 {
            report(format_args!("{}; trying the next target", chain(&failure)));
        }
        match save_to(target, config, &core, timeline.clone()) {
            Ok(()) => return Ok(()),
            Err(source) => failure = Error::Target { target: target.to_string(), source },
        }
    }
    Err(failure)
}

/// Saves everything on one target.
fn save_to(
    target: &Target,
    config: &Config,
    core: &Vmcore,
    mut timeline: Timeline,
) -> Result<(), target::Error> {
    let mut destination = Destination::open(target, config, core)?;
    timeline.reached("target ready");
    let place = destination.place();
    report(format_args!("saving to {target} {place}"));
    let saved = save_on(&mut destination, target, &options(config), core, timeline);
    // In any case: the log may be there even if the dump is not.
    let closed = destination.close();
    let size = saved?;
    closed?;
    report(format_args!("saved {place}/{} ({size} bytes)", manifest::VMCORE));
    Ok(())
}

/// Saves log, dump and manifest; returns the size of the dump in bytes.
fn save_on(
    destination: &mut Destination,
    target: &Target,
    options: &dump::Options,
    core: &Vmcore,
    mut timeline: Timeline,
) -> Result<u64, target::Error> {
    let dmesg = match destination.save_log(core) {
        Ok(records) => Some(Log { file: manifest::DMESG, records }),
        Err(error) => {
            report(format_args!("the log is not saved: {}", chain(&error)));
            None
        }
    };
    timeline.reached("log saved");
    let mut progress = Progress::default();
    let show = &mut |done: &dump::Progress| progress.show(done);
    let (saved, sha256) = destination.save_dump(core, options, show)?;
    saved.notes.iter().for_each(report);
    timeline.reached("dump saved and read back");
    let info = &core.headers().info;
    let manifest = Manifest {
        version: manifest::VERSION,
        kernel: Kernel::of(info),
        crash_time: manifest::crash_time(info).map(manifest::timestamp),
        finished: manifest::timestamp(SystemTime::now()),
        timeline,
        capture: manifest::CAPTURE,
        target: target.to_string(),
        vmcore: Dump::new(manifest::VMCORE, options.format, &saved, sha256),
        dmesg,
    };
    destination.save_manifest(&manifest)?;
    Ok(saved.bytes)
}

/// How the dump is to be written.
fn options(config: &Config) -> dump::Options {
    let every_cpu = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    dump::Options {
        format: config.format,
        compression: config.compression,
        level: config.level.try_into().unwrap_or(Level::NONE),
        threads: config.threads.unwrap_or_else(every_cpu),
    }
}

/// Shows how far the dump is.
struct Progress {
    stage: Option<Stage>,
    started: Instant,
    shown: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        let now = Instant::now();
        Self { stage: None, started: now, shown: now }
    }
}

impl Progress {
    fn show(&mut self, progress: &dump::Progress) {
        if self.stage != Some(progress.stage) {
            *self = Self { stage: Some(progress.stage), ..Self::default() };
        }
        if self.shown.elapsed() < PROGRESS {
            return;
        }
        self.shown = Instant::now();
        let what = match progress.stage {
            Stage::Count => "looking for space",
            Stage::Save => "saving",
            Stage::Verify => "checking",
        };
        let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
        let written = progress.written / 1_000_000;
        let seconds = self.started.elapsed().as_secs();
        report(format_args!("{what} {percent}% ({written} MB, {seconds} s)"));
    }
}

/// A line for the supervisor. If it is gone, so is the reader of any complaint.
fn report(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
