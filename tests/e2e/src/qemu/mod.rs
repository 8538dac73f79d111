//! A QEMU machine: its command line, its serial line, its control sockets. It ends with the value.

mod command;
pub mod gdb;
pub mod qmp;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub use command::{Flash, Machine};
use gdb::Gdb;
pub use kdump::rehearse::serial;
use qmp::Qmp;
use serial::Serial;

/// A machine that did not run as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or socket could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// QEMU could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The serial line did not say what it should.
    #[error(transparent)]
    Serial(#[from] serial::Error),
    /// QEMU's monitor refused something or went away.
    #[error(transparent)]
    Qmp(#[from] qmp::Error),
    /// The gdbstub refused something or went away.
    #[error(transparent)]
    Gdb(#[from] gdb::Error),
    /// QEMU went on too long.
    #[error("the machine still ran {seconds} s after it should have ended")]
    StillRuns {
        /// How long was waited.
        seconds: u64,
    },
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The guest reset the machine.
    Reset,
    /// The guest powered the machine off.
    PowerOff,
    /// The guest's firmware or kernel reported a panic to QEMU, or QEMU ended by itself.
    Other,
}

/// A running machine.
#[derive(Debug)]
pub struct Qemu {
    program: &'static str,
    child: Child,
    /// The first serial port.
    pub serial: Serial,
    /// The monitor.
    pub qmp: Qmp,
    sockets: tempfile::TempDir,
    trace: Option<PathBuf>,
}

impl Qemu {
    /// Starts `machine` with its logs in `dir`: `command`, `serial.log`, `qemu.log`, and `trace`
    /// if instructions are counted.
    pub fn start(machine: &Machine, dir: &Path) -> Result<Self, Error> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        // Sockets have short names (sun_path has 108 bytes), which `dir` may not allow.
        let sockets = tempfile::tempdir().map_err(file_error(&std::env::temp_dir()))?;
        let trace = machine.plugin.as_ref().map(|_| dir.join("trace"));
        let mut command = machine.command(sockets.path(), trace.as_deref());
        let shown = crate::process::show(&command);
        let (command_file, log_file) = (dir.join("command"), dir.join("qemu.log"));
        fs::write(&command_file, format!("{shown}\n")).map_err(file_error(&command_file))?;
        let log = File::create(&log_file).map_err(file_error(&log_file))?;
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|source| Error::Start { command: shown, source })?;
        let serial = Serial::new(&mut child, started, &dir.join("serial.log"));
        let qmp = Qmp::connect(&sockets.path().join("qmp"), &mut child);
        match (serial, qmp) {
            (Ok(serial), Ok(qmp)) => {
                Ok(Self { program: machine.program, child, serial, qmp, sockets, trace })
            }
            (Err(error), _) => Err(stop(child, error.into())),
            (_, Err(error)) => Err(stop(child, error.into())),
        }
    }

    /// Connects to the gdbstub, which stops the machine. Only if it was started with one.
    pub fn gdb(&self) -> Result<Gdb, Error> {
        Ok(Gdb::connect(&self.sockets.path().join("gdb"))?)
    }

    /// Waits until the machine has ended by itself.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<End, Error> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(_)) => {
                    self.serial.drain();
                    return Ok(self.qmp.shutdown_reason());
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(source) => {
                    return Err(Error::File { path: self.program.into(), source });
                }
            }
        }
        Err(Error::StillRuns { seconds: timeout.as_secs() })
    }

    /// The plugin's trace, complete once the machine has ended.
    pub fn trace(&self) -> Option<&Path> {
        self.trace.as_deref()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn stop(mut child: Child, error: Error) -> Error {
    end(&mut child);
    error
}

fn end(child: &mut Child) {
    // Fails only if it has ended already; then wait returns at once.
    let _ = child.kill();
    let _ = child.wait();
}
