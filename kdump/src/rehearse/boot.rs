//! One boot: a kernel panics in a virtual machine, and the capture image saves what it can.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::serial::{self, Serial};
use super::story::Story;

/// A machine that could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log cannot be written.
    #[error("cannot write {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// QEMU cannot be run.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The console cannot be read.
    #[error(transparent)]
    Console(#[from] serial::Error),
    /// QEMU itself ended with an error.
    #[error("QEMU ended before the kernel printed anything: {output}")]
    Qemu {
        /// Its last words.
        output: String,
    },
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The whole boot.
    pub all: Duration,
    /// Until the kernel prints its first line.
    pub first_line: Duration,
    /// Until a machine ends that has nothing more to say; then it is taken for one that would not.
    pub end: Duration,
}

/// What became of a boot.
#[derive(Debug)]
pub struct Boot {
    /// What its console told.
    pub story: Story,
    /// How it ended.
    pub ended: &'static str,
    /// How long it ran.
    pub took: Duration,
}

impl Boot {
    /// Whether the dump was saved and the capture came to its end.
    pub fn worked(&self) -> bool {
        self.story.saved.is_some() && self.story.is_over()
    }

    /// Why not.
    pub fn reason(&self) -> String {
        let reason = self.story.reason(self.ended);
        if self.ended == STAYS_DOWN {
            return format!("{reason}; and {STAYS_DOWN}: does the command line have panic=?");
        }
        reason
    }
}

const STAYS_DOWN: &str = "the machine stayed down after the panic";

/// Boots `machine` with its logs in `folder`: `command`, `console.log`, `qemu.log`. `reached` is
/// called at each step of the story.
pub fn run(
    machine: &Machine,
    folder: &Path,
    patience: Patience,
    reached: &mut dyn FnMut(&Story),
) -> Result<Boot, Error> {
    let started = Instant::now();
    let mut qemu = Qemu::start(machine.command(), folder)?;
    let mut story = Story::default();
    let mut deadline = started + patience.first_line.min(patience.all);
    let mut lines = 0;
    let ended = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match qemu.console.wait_for_any(&[""], left) {
            Ok((_, line)) => {
                lines += 1;
                if lines == 1 {
                    deadline = started + patience.all;
                }
                if story.take(line.at, &line.text) {
                    reached(&story);
                }
                // What halts, or waits for an operator, does not end by itself.
                if story.is_over() || story.is_lost() {
                    deadline = deadline.min(Instant::now() + patience.end);
                }
            }
            Err(serial::Error::Ended { .. }) if lines == 0 => {
                return Err(Error::Qemu { output: qemu.last_words(folder) });
            }
            Err(serial::Error::Ended { .. }) => break "the machine was reset or switched off",
            Err(serial::Error::Timeout { .. }) if lines == 0 => {
                break "the machine printed nothing";
            }
            Err(serial::Error::Timeout { .. }) if story.is_over() => break "the machine halted",
            Err(serial::Error::Timeout { .. }) if story.is_lost() && !patience.end.is_zero() => {
                break STAYS_DOWN;
            }
            Err(serial::Error::Timeout { .. }) => break "the machine did not end in time",
            Err(error @ serial::Error::Write { .. }) => return Err(error.into()),
        }
    };
    Ok(Boot { story, ended, took: started.elapsed() })
}

/// A running QEMU, which ends with the value.
struct Qemu {
    child: Child,
    console: Serial,
}

impl Qemu {
    fn start(mut command: Command, folder: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Log { path, source }
        };
        let (command_file, log) = (folder.join("command"), folder.join("qemu.log"));
        std::fs::write(&command_file, format!("{command:?}\n")).map_err(failed(&command_file))?;
        let log_file = File::create(&log).map_err(failed(&log))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(|source| Error::Start { program, source })?;
        match Serial::new(&mut child, started, &folder.join("console.log")) {
            Ok(console) => Ok(Self { child, console }),
            Err(error) => {
                end(&mut child);
                Err(error.into())
            }
        }
    }

    fn last_words(&mut self, folder: &Path) -> String {
        // It has closed its output: all of its words are written when it is gone.
        let _ = self.child.wait();
        let words = std::fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
        words.trim().to_owned()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Fails only if it has ended already; then wait returns at once.
    let _ = child.kill();
    let _ = child.wait();
}
