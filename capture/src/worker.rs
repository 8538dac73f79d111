//! The process that saves the dump: one pass from the modules to the manifest.
//!
//! It writes plain lines to its standard output; the supervisor shows them, and takes each as a
//! sign of life.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{self, Config, Target};
use crate::console::chain;
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
    journal.say(format_args!("saving to {target} {place}"));
    let mut manifest = Manifest::new(&core.headers().info, target.to_string(), timeline);
    let saved = save_on(&mut destination, core, &mut manifest, journal);
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
    journal.say(format_args!("saved {place}/{} ({size} bytes)", manifest::VMCORE));
    Ok(())
}

/// Saves log, dump and manifest; returns the size of the dump in bytes.
fn save_on(
    destination: &mut Destination,
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
    let mut progress = Progress::new(core.headers().size, journal);
    let copied = destination.save_dump(core, &mut |what, done| progress.show(what, done))?;
    manifest.timeline.reached("dump saved and read back");
    manifest.complete = true;
    manifest.finished = Some(manifest::timestamp(SystemTime::now()));
    manifest.vmcore = Some(Dump::elf(manifest::VMCORE, &copied));
    destination.save_manifest(manifest)?;
    Ok(copied.size)
}

/// Progress of the passes over the core.
struct Progress<'a> {
    journal: &'a mut Journal,
    /// The pass.
    what: &'static str,
    size: u64,
    started: Instant,
    shown: Instant,
}

impl<'a> Progress<'a> {
    fn new(size: u64, journal: &'a mut Journal) -> Self {
        let now = Instant::now();
        Self { journal, what: "", size, started: now, shown: now }
    }

    fn show(&mut self, what: &'static str, done: u64) {
        if self.what != what {
            let now = Instant::now();
            (self.what, self.started, self.shown) = (what, now, now);
        }
        if self.shown.elapsed() < PROGRESS {
            return;
        }
        self.shown = Instant::now();
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let percent = u128::from(done) * 100 / u128::from(self.size.max(1));
        let speed = u128::from(megabytes(done)) * 1000 / self.started.elapsed().as_millis().max(1);
        self.journal.say(format_args!(
            "{what} {percent}% ({} of {} MB, {speed} MB/s)",
            megabytes(done),
            megabytes(self.size),
        ));
    }
}
