//! Early loading: `/init` of the first kernel's initrd, before the one that was always there.
//!
//! It loads the capture kernel that lies beside it in the initramfs, so that what goes wrong from
//! then on leaves a dump, and then becomes the original `/init`: same process, arguments and
//! environment, and nothing is left of it, neither files, whose memory is free again, nor mounts.
//! Whatever fails is said in the kernel's log, as an error, which the console shows even where
//! the kernel is `quiet`; the boot goes on.
//!
//! `kdump mkinitrd -i` puts everything in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use purgatorio::plan::command_line::words;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::capture_command_line::{capture_command_line, with_loader};
use crate::console::{chain, say};
use crate::supervisor::wait_or_kill;

/// Where everything lies in the first kernel's initramfs until the capture kernel is loaded.
pub const DIRECTORY: &str = "/.kdump-early";
/// The static `kdump-capture`, to which `/init` is a link.
pub const PROGRAM: &str = "/.kdump-early/kdump-capture";
/// The `/init` of the initrd as it was.
pub const ORIGINAL_INIT: &str = "/.kdump-early/init";
/// The static `kexec`.
pub const KEXEC: &str = "/.kdump-early/kexec";
/// The capture kernel.
pub const KERNEL: &str = "/.kdump-early/kernel";
/// Its initramfs.
pub const INITRD: &str = "/.kdump-early/initrd";
/// A text file: words for the end of its command line.
pub const APPEND: &str = "/.kdump-early/append";
/// The device of the kernel's log.
pub const KMSG: &str = "/.kdump-early/kmsg";

/// What `kexec` says.
const OUTPUT: &str = "/.kdump-early/output";
const INIT: &str = "/init";

/// The word on the kernel's command line that keeps the capture kernel from being loaded here.
pub const OFF: &str = "kdump.early=off";

/// How long the load may hold up the boot.
const LOAD: Duration = Duration::from_secs(60);

/// How many lines of `kexec` go to the log: the kernel takes ten in a burst.
const LINES: usize = 6;
/// How much of each: a record of the log has a little less than 1024 bytes.
const LINE: usize = 800;

/// Why the capture kernel was not loaded.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot mount {filesystem} on {on}")]
    Mount { filesystem: &'static str, on: &'static str, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: &'static str, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: &'static str, source: io::Error },
    #[error("cannot run {KEXEC}")]
    Run(#[source] io::Error),
    #[error("kexec ended with {0}")]
    Failed(ExitStatus),
    #[error("kexec was not done after {} seconds and was stopped", LOAD.as_secs())]
    Timeout,
}

/// How it went, when nothing failed.
enum Outcome {
    Loaded,
    NotWanted,
    AlreadyLoaded,
}

/// Whether this is the first kernel's initramfs, and the original `/init` is still to run.
pub fn is_to_run() -> bool {
    // A link may lead to what the original /init mounts first: it need not exist now.
    Path::new(ORIGINAL_INIT).symlink_metadata().is_ok()
}

/// Loads the capture kernel and becomes the original `/init`. Returns only if that cannot be run.
pub fn run() -> ExitCode {
    let mut log = Log::open();
    let outcome = load();
    let output = fs::read(OUTPUT).unwrap_or_default();
    match &outcome {
        Ok(Outcome::Loaded) => log.info("capture kernel loaded"),
        Ok(Outcome::NotWanted) => log.info(&format!("no capture kernel loaded: {OFF}")),
        Ok(Outcome::AlreadyLoaded) => log.info("a capture kernel was loaded already"),
        Err(error) => {
            log.error(&format!("no capture kernel loaded: {}", chain(error)));
            for line in String::from_utf8_lossy(&output).lines().take(LINES) {
                log.error(&line.chars().take(LINE).collect::<String>());
            }
        }
    }
    let init = restore_init(&mut log);
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| INIT.into());
    let error = Command::new(init).arg0(name).args(arguments).exec();
    log.error(&format!("cannot run the original {INIT}: {error}"));
    ExitCode::FAILURE
}

fn load() -> Result<Outcome, Error> {
    // Where the loader looks. Undone when this function ends.
    let _proc = TemporaryMount::new("proc", "/proc")?;
    let _sys = TemporaryMount::new("sysfs", "/sys")?;
    let running = read("/proc/cmdline")?;
    if words(&running).any(|word| word == OFF) {
        return Ok(Outcome::NotWanted);
    }
    // A kernel without the file has no kexec: `kexec` knows how to say so.
    let loaded = fs::read_to_string("/sys/kernel/kexec_crash_loaded").unwrap_or_default();
    if loaded.trim() == "1" {
        return Ok(Outcome::AlreadyLoaded);
    }
    let line = capture_command_line(&running, &read(APPEND)?);
    run_kexec(&with_loader(&line, Path::new(KEXEC))).map(|()| Outcome::Loaded)
}

fn run_kexec(command_line: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: OUTPUT, source };
    let output = File::create(OUTPUT).map_err(failed)?;
    let errors = output.try_clone().map_err(failed)?;
    let mut kexec = Command::new(KEXEC)
        .arg("-p")
        .arg(format!("--initrd={INITRD}"))
        .arg(format!("--append={command_line}"))
        .arg(KERNEL)
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(Error::Run)?;
    match wait_or_kill(&mut kexec, LOAD) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Failed(status)),
        None => Err(Error::Timeout),
    }
}

fn read(path: &'static str) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Makes the initramfs what it was, as far as that can be done, and returns where the original
/// `/init` is now.
fn restore_init(log: &mut Log) -> &'static str {
    if let Err(error) = fs::rename(ORIGINAL_INIT, INIT) {
        log.error(&format!("cannot restore {INIT}: {error}"));
        return ORIGINAL_INIT;
    }
    if let Err(error) = fs::remove_dir_all(DIRECTORY) {
        log.error(&format!("cannot remove {DIRECTORY}: {error}"));
    }
    INIT
}

/// A file system that is mounted as long as the value lives, on a directory that is made for it
/// if need be.
struct TemporaryMount {
    on: &'static str,
    is_new: bool,
}

impl TemporaryMount {
    fn new(filesystem: &'static str, on: &'static str) -> Result<Self, Error> {
        let failed = |source| Error::Mount { filesystem, on, source };
        let is_new = match fs::create_dir(on) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let directory = Self { on, is_new };
        mount(filesystem, on, filesystem, MountFlags::empty(), None)
            .map_err(|errno| failed(errno.into()))?;
        Ok(directory)
    }
}

impl Drop for TemporaryMount {
    fn drop(&mut self) {
        // Detached, so that a `kexec` that is stuck does not keep it. If nothing is mounted there,
        // or it fails, nothing can be done about it.
        let _ = unmount(self.on, UnmountFlags::DETACH);
        if self.is_new {
            let _ = fs::remove_dir(self.on);
        }
    }
}

/// The kernel's log; where that cannot be had, the console.
struct Log {
    kmsg: Option<File>,
}

impl Log {
    fn open() -> Self {
        Self { kmsg: OpenOptions::new().write(true).open(KMSG).ok() }
    }

    fn info(&mut self, message: &str) {
        self.write(6, message);
    }

    fn error(&mut self, message: &str) {
        self.write(3, message);
    }

    /// `level` is one of include/linux/kern_levels.h.
    fn write(&mut self, level: u8, message: &str) {
        // One write is one record.
        let record = format!("<{level}>kdump: early: {message}\n");
        let written = self.kmsg.as_mut().map(|kmsg| kmsg.write_all(record.as_bytes()));
        if !matches!(written, Some(Ok(()))) {
            say(format_args!("early: {message}"));
        }
    }
}
