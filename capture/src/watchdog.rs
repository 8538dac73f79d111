//! Tends the hardware watchdog, if the machine has one: it may have been running when the kernel
//! died, and would restart the machine in the middle of the dump.
//!
//! Tending ends after a given time, so that a machine that hangs is restarted by it. It is left
//! running for a restart, which it forces when the devices hang in their shutdown, and disarmed
//! before a halt, which it would not let last.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::console::say;

/// Where the kernel has the first watchdog (Documentation/watchdog/watchdog-api.rst, Linux 6.1).
const DEVICE: &str = "/dev/watchdog0";

/// Shorter than the time of any watchdog, and long enough to cost nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells a driver that it is to stop when the device is closed.
const MAGIC_CLOSE: &[u8] = b"V";

/// The thread that tends the watchdog.
#[derive(Debug)]
pub struct Watchdog {
    disarm: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Tends the watchdog for `limit`, from the moment when its driver is there.
    pub fn tend(limit: Duration) -> Self {
        Self::tend_device(Path::new(DEVICE).into(), limit)
    }

    fn tend_device(device: Box<Path>, limit: Duration) -> Self {
        let (disarm, disarmed) = mpsc::channel();
        let deadline = Instant::now() + limit;
        let thread = thread::spawn(move || {
            let mut watchdog: Option<File> = None;
            while Instant::now() < deadline {
                match disarmed.recv_timeout(INTERVAL) {
                    Ok(()) => return stop(watchdog),
                    // Nobody will disarm it any more.
                    Err(RecvTimeoutError::Disconnected) => return left_running(watchdog),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                match &mut watchdog {
                    // A watchdog that cannot be tended restarts the machine, which is told by it.
                    Some(file) => drop(file.write_all(b"\0")),
                    None => watchdog = open(&device),
                }
            }
            left_running(watchdog);
        });
        Self { disarm, thread }
    }

    /// Stops the watchdog, as far as its driver lets it be stopped.
    pub fn disarm(self) {
        // The thread is gone when its time is over.
        let _ = self.disarm.send(());
        let _ = self.thread.join();
    }
}

/// `None` while it is not there, and where something else has it.
fn open(device: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).open(device).ok()?;
    say(format_args!("tending {}", device.display()));
    Some(file)
}

fn stop(watchdog: Option<File>) {
    let Some(mut file) = watchdog else { return };
    let stopped: io::Result<()> = file.write_all(MAGIC_CLOSE);
    if let Err(error) = stopped {
        say(format_args!("the watchdog cannot be stopped: {error}"));
    }
}

/// The device stays open: to close it without [`MAGIC_CLOSE`] makes some drivers complain.
fn left_running(watchdog: Option<File>) {
    std::mem::forget(watchdog);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Tends a file in place of a device until it has content.
    fn tended(dir: &Path) -> (Watchdog, std::path::PathBuf) {
        let device = dir.join("watchdog0");
        let watchdog = Watchdog::tend_device(device.clone().into(), Duration::from_secs(60));
        // Its driver comes late.
        fs::write(&device, "").unwrap();
        while fs::read(&device).unwrap().is_empty() {
            thread::sleep(Duration::from_millis(20));
        }
        (watchdog, device)
    }

    #[test]
    fn it_is_tended_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (watchdog, device) = tended(dir.path());
        watchdog.disarm();
        let written = fs::read(device).unwrap();
        assert!(written.starts_with(b"\0") && written.ends_with(b"V"), "{written:?}");
    }

    #[test]
    fn tending_ends() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("none");
        let watchdog = Watchdog::tend_device(device.into(), Duration::from_millis(1));
        watchdog.thread.join().unwrap();
    }
}
