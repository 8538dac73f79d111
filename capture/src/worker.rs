//! The process that saves the dump: one pass from the modules to the manifest.
//!
//! It writes plain lines to its standard output; the supervisor shows them, and takes each as a
//! sign of life.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::address::{self, KernelMemory};
use crate::block::{self, Devices};
use crate::config::{self, Config, Target};
use crate::console::chain;
use crate::manifest::{self, Dump, Kernel, Log, Manifest};
use crate::mount::{self, Mounted};
use crate::vmcore::{self, Vmcore};
use crate::{dump, kernel_modules, printk, supervisor};

/// Exit code of a worker that failed and said why.
pub const FAILED: u8 = 1;

/// Where the target is mounted.
const MOUNT_POINT: &str = "/target";

const INCOMPLETE: &str = "vmcore-incomplete";
const VMCORE: &str = "vmcore";
const DMESG: &str = "vmcore-dmesg.txt";
const MANIFEST: &str = "manifest.json";

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
    /// The target cannot be used.
    #[error(transparent)]
    Block(#[from] block::Error),
    /// The target cannot be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// The dump was not written.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// The log was not written.
    #[error(transparent)]
    Log(#[from] printk::Error),
    /// The log cannot be looked for.
    #[error("cannot read the dead kernel's memory")]
    Memory(#[from] address::Error),
    /// A file or directory cannot be made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Saves the dump, and says how it went.
pub fn run() -> ExitCode {
    let (config, _) = supervisor::load_config();
    match save(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("failed: {}", chain(&error)));
            ExitCode::from(FAILED)
        }
    }
}

fn save(config: &Config) -> Result<(), Error> {
    let target = config.target.as_ref().ok_or(Error::NoTarget)?;
    // Before anything else: without a core there is nothing to do.
    let core = Vmcore::open(Path::new(vmcore::PATH))?;
    for error in kernel_modules::load(Path::new(config::MODULES), &config.modules) {
        report(chain(&error));
    }
    let device = Devices::default().wait_for(target, config.wait)?;
    let mounted = Mounted::new(&device, config.filesystem, Path::new(MOUNT_POINT))?;
    let saved = save_on(&core, target, &config.path);
    // In any case: the log may be there even if the dump is not.
    let unmounted = mounted.unmount();
    let (path, size) = saved?;
    unmounted?;
    report(format_args!("saved {} ({size} bytes)", path.display()));
    Ok(())
}

/// Saves log, dump and manifest in a new directory; returns the path of the dump on the target's
/// file system, and its size in bytes.
fn save_on(core: &Vmcore, target: &Target, path: &Path) -> Result<(PathBuf, u64), Error> {
    let started = (SystemTime::now(), Instant::now());
    let info = &core.headers().info;
    let crash_time = manifest::crash_time(info);
    let parent = Path::new(MOUNT_POINT).join(path.strip_prefix("/").unwrap_or(path));
    let directory = create_directory(&parent, crash_time.unwrap_or(started.0))?;
    let shown = Path::new("/").join(directory.strip_prefix(MOUNT_POINT).unwrap_or(&directory));
    report(format_args!("saving to {target} {}", shown.display()));

    let dmesg = match save_log(core, &directory.join(DMESG)) {
        Ok(records) => Some(Log { file: DMESG, records }),
        Err(error) => {
            report(format_args!("the log is not saved: {}", chain(&error)));
            None
        }
    };
    let copied = save_dump(core, &directory)?;
    let manifest = Manifest {
        version: manifest::VERSION,
        kernel: Kernel::of(info),
        crash_time: crash_time.map(manifest::timestamp),
        started: manifest::timestamp(started.0),
        finished: manifest::timestamp(SystemTime::now()),
        seconds: started.1.elapsed().as_secs_f64(),
        target: target.to_string(),
        vmcore: Dump::elf(VMCORE, &copied),
        dmesg,
    };
    save_manifest(&manifest, &directory)?;
    Ok((shown.join(VMCORE), copied.size))
}

/// A directory of its own for this dump. Its name has a number when the time is taken: a clock
/// that stands still must not cost a dump.
fn create_directory(parent: &Path, time: SystemTime) -> Result<PathBuf, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what: "create directory", path, source }
    };
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let name = manifest::directory_name(time);
    let mut path = parent.join(&name);
    for number in 1..1000 {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = parent.join(format!("{name}.{number}"));
            }
            other => {
                other.map_err(failed(&path))?;
                sync_directory(parent)?;
                return Ok(path);
            }
        }
    }
    Err(failed(&path)(io::ErrorKind::AlreadyExists.into()))
}

fn save_log(core: &Vmcore, path: &Path) -> Result<u64, Error> {
    let failed = |what| move |source| Error::File { what, path: path.to_owned(), source };
    let mut memory = KernelMemory::new(core)?;
    let mut out = BufWriter::new(File::create_new(path).map_err(failed("create"))?);
    let records = printk::write_log(&mut memory, &mut out);
    // What there is of it is worth keeping.
    out.flush().map_err(failed("write"))?;
    out.get_ref().sync_all().map_err(failed("sync"))?;
    Ok(records?)
}

fn save_dump(core: &Vmcore, directory: &Path) -> Result<dump::Copied, Error> {
    let incomplete = directory.join(INCOMPLETE);
    let complete = directory.join(VMCORE);
    let size = core.headers().size;
    let mut progress = Progress::new("looking for space", size);
    dump::check_space(core, directory, &mut |done| progress.show(done))?;
    let mut progress = Progress::new("saving", size);
    let copied = dump::copy(core, &incomplete, &mut |done| progress.show(done))?;
    let mut progress = Progress::new("checking", size);
    dump::check(core, &incomplete, &copied, &mut |done| progress.show(done))?;
    fs::rename(&incomplete, &complete).map_err(|source| Error::File {
        what: "give its final name to",
        path: incomplete,
        source,
    })?;
    sync_directory(directory)?;
    Ok(copied)
}

fn save_manifest(manifest: &Manifest, directory: &Path) -> Result<(), Error> {
    let path = directory.join(MANIFEST);
    let failed = |what| {
        let path = path.clone();
        move |source| Error::File { what, path, source }
    };
    let mut text =
        serde_json::to_vec_pretty(manifest).map_err(|error| failed("write")(error.into()))?;
    text.push(b'\n');
    let mut file = File::create_new(&path).map_err(failed("create"))?;
    file.write_all(&text).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    sync_directory(directory)
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Error::File { what: "sync", path: path.to_owned(), source })
}

/// Progress of a pass over the core.
struct Progress {
    what: &'static str,
    size: u64,
    started: Instant,
    shown: Instant,
}

impl Progress {
    fn new(what: &'static str, size: u64) -> Self {
        let now = Instant::now();
        Self { what, size, started: now, shown: now }
    }

    fn show(&mut self, done: u64) {
        if self.shown.elapsed() < PROGRESS {
            return;
        }
        self.shown = Instant::now();
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let percent = u128::from(done) * 100 / u128::from(self.size.max(1));
        let speed = u128::from(megabytes(done)) * 1000 / self.started.elapsed().as_millis().max(1);
        report(format_args!(
            "{} {percent}% ({} of {} MB, {speed} MB/s)",
            self.what,
            megabytes(done),
            megabytes(self.size),
        ));
    }
}

/// A line for the supervisor. If it is gone, so is the reader of any complaint.
fn report(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
