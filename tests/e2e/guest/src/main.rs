//! `/init` of the first kernel in an end-to-end run, or a program that another `/init` runs.
#![forbid(unsafe_code)]

mod steps;

use std::fs;

use e2e_guest::{SCRIPT, Script};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

fn main() {
    if let Err(error) = run() {
        steps::say(&format!("failed: {error}"));
    }
    if std::process::id() != 1 {
        // Run by another /init, which goes on.
        return;
    }
    // PID 1 must not return: its end is a kernel panic of its own.
    let error = reboot(RebootCommand::PowerOff);
    steps::say(&format!("failed: power off: {error:?}"));
    loop {
        std::thread::park();
    }
}

fn run() -> Result<(), steps::Error> {
    mount_all()?;
    steps::say("started");
    let script = fs::read(SCRIPT).map_err(|e| steps::Error::file(SCRIPT, e))?;
    let script: Script = serde_json::from_slice(&script)
        .map_err(|e| steps::Error::file(SCRIPT, std::io::Error::other(e)))?;
    for step in &script.steps {
        steps::run(step)?;
    }
    steps::say("done");
    Ok(())
}

fn mount_all() -> Result<(), steps::Error> {
    for (kind, on) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(on).map_err(|e| steps::Error::file(on, e))?;
        match mount(kind, on, kind, MountFlags::empty(), None) {
            // EBUSY: it is there already.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(errno) => return Err(steps::Error::file(on, errno.into())),
        }
    }
    Ok(())
}
