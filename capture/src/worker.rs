//! The process that saves the dump: one pass from the modules to the manifest.
//!
//! It writes plain lines to its standard output; the supervisor shows them, and takes each as a
//! sign of life.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{self, Config, Target};
use crate::console::chain;
use crate::dump::{Options, Progress, Stage};
use crate::journal::Journal;
use crate::manifest::{self, Dump, Log, Manifest};
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
    let mut journal = Journal::default();
    match save(&config, init_started, &mut journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            journal.say(format_args!("failed: {}", chain(&error)));
            ExitCode::from(FAILED)
        }
    }
}

fn save(
    config: &Config,
    init_started: Option<Duration>,
    journal: &mut Journal,
) -> Result<(), Error> {
    // Before anything else: without a core there is nothing to do.
    let core = Vmcore::open(Path::new(vmcore::PATH))?;
    let mut timeline = Timeline::new(manifest::crash_time(&core.headers().info));
    init_started.into_iter().for_each(|at| timeline.reached_at("init started", at));
    for error in kernel_modules::load(Path::new(config::MODULES), &config.modules) {
        journal.say(chain(&error));
    }
    timeline.reached("modules loaded");
    let tried = if config.on_failure.next_target { config.targets.len() } else { 1 };
    let mut failure = Error::NoTarget;
    for (number, target) in config.targets.iter().take(tried).enumerate() {
        if number > 0 {
            journal.say(format_args!("{}; trying the next target", chain(&failure)));
        }
        match save_to(target, config, &core, timeline.clone(), journal) {
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
    journal: &mut Journal,
) -> Result<(), target::Error> {
    let mut destination = Destination::open(target, config, core, journal)?;
    timeline.reached("target ready");
    if let Err(error) = destination.open_journal(journal) {
        journal.say(format_args!("this log is not saved: {error}"));
    }
    let place = destination.place();
    let dump = destination.dump();
    journal.say(format_args!("saving to {target} {place}"));
    let (info, loader) = (&core.headers().info, config.loader.clone());
    let mut manifest = Manifest::new(info, loader, target.to_string(), timeline);
    let saved = save_on(&mut destination, config, core, &mut manifest, journal);
    if let Err(error) = &saved {
        journal.note(format_args!("the dump is not saved: {}", chain(error)));
        manifest.failure = Some(chain(error));
        // The dump's own failure is the one to tell.
        let _ = destination.save_manifest(&manifest);
    } else if let Some(keep) = config.keep {
        destination.rotate(keep, journal);
    }
    if let Err(error) = journal.close() {
        journal.say(format_args!("this log is not saved: {error}"));
    }
    // In any case: the log may be there even if the dump is not.
    let closed = destination.close(journal);
    let size = saved?;
    closed?;
    journal.say(format_args!("saved {dump} ({size} bytes)"));
    Ok(())
}

/// Saves log, dump and manifest; returns the size of the dump in bytes.
fn save_on(
    destination: &mut Destination,
    config: &Config,
    core: &Vmcore,
    manifest: &mut Manifest,
    journal: &mut Journal,
) -> Result<u64, target::Error> {
    // It marks the directory as ours, whatever becomes of the dump.
    destination.save_manifest(manifest)?;
    match destination.save_log(core) {
        Ok(records) => {
            manifest.dmesg = Some(Log { file: manifest::DMESG, records });
            manifest.timeline.reached("log saved");
        }
        Err(error) => journal.say(format_args!("the log is not saved: {}", chain(&error))),
    }
    let options = options(config);
    let mut shown = Shown::new(journal);
    let saved = destination.save_dump(core, &options, &mut |done| shown.show(done))?;
    manifest.timeline.reached("dump saved");
    let sha256 = destination.finish_dump(core, &saved, &mut |done| shown.show(done))?;
    manifest.timeline.reached("dump read back");
    saved.notes.iter().for_each(|note| journal.say(note));
    manifest.complete = true;
    manifest.finished = Some(manifest::timestamp(SystemTime::now()));
    manifest.vmcore = Some(Dump::new(destination.dump_name(), &options, &saved, sha256));
    destination.save_manifest(manifest)?;
    Ok(saved.bytes)
}

/// How the dump is to be written.
fn options(config: &Config) -> Options {
    let every_cpu = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Options {
        format: config.format,
        compression: config.compression,
        level: config.level,
        threads: config.threads.unwrap_or_else(every_cpu),
    }
}

/// Shows how far the dump is.
struct Shown<'a> {
    journal: &'a mut Journal,
    stage: Option<Stage>,
    started: Instant,
    last: Instant,
}

impl<'a> Shown<'a> {
    fn new(journal: &'a mut Journal) -> Self {
        let now = Instant::now();
        Self { journal, stage: None, started: now, last: now }
    }

    fn show(&mut self, progress: &Progress) {
        if self.stage != Some(progress.stage) {
            let now = Instant::now();
            (self.stage, self.started, self.last) = (Some(progress.stage), now, now);
        }
        if self.last.elapsed() < PROGRESS {
            return;
        }
        self.last = Instant::now();
        let what = match progress.stage {
            Stage::Count => "looking for space",
            Stage::Save => "saving",
            Stage::Verify => "checking",
        };
        let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
        let written = progress.written / 1_000_000;
        let seconds = self.started.elapsed().as_secs();
        self.journal.say(format_args!("{what} {percent}% ({written} MB, {seconds} s)"));
    }
}
