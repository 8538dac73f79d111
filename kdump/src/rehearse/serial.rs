//! The guest's first serial port: every line with the host time at which it began.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A line of the guest.
#[derive(Clone, Debug)]
pub struct Line {
    /// When its first byte came, since the machine was started.
    pub at: Duration,
    /// Its text, without the line's end.
    pub text: String,
}

/// The serial line did not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log could not be written, or nothing be sent.
    #[error("{path}: cannot write")]
    Write {
        /// The log, or the guest's console.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The line did not come in time.
    #[error("the guest did not print {wanted:?} within {seconds} s; its last lines:\n{last}")]
    Timeout {
        /// What was waited for.
        wanted: String,
        /// How long.
        seconds: u64,
        /// The last lines of the log.
        last: String,
    },
    /// The machine ended before.
    #[error("the machine ended before the guest printed {wanted:?}; its last lines:\n{last}")]
    Ended {
        /// What was waited for.
        wanted: String,
        /// The last lines of the log.
        last: String,
    },
}

/// The host's end of the serial port.
#[derive(Debug)]
pub struct Serial {
    lines: Vec<Line>,
    /// How many of `lines` were looked at by [`Serial::wait_for`].
    seen: usize,
    incoming: Receiver<Line>,
    keyboard: ChildStdin,
}

impl Serial {
    /// Reads the stdout of QEMU, and keeps a copy in `log`.
    pub fn new(child: &mut Child, started: Instant, log: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: log.to_owned(), source };
        let file = File::create(log).map_err(failed)?;
        let (Some(keyboard), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("QEMU's stdin and stdout are not pipes")));
        };
        let (sender, incoming) = mpsc::channel();
        std::thread::spawn(move || read(stdout, file, started, &sender));
        Ok(Self { lines: Vec::new(), seen: 0, incoming, keyboard })
    }

    /// The next line, not looked at before, that contains one of `wanted`, and which one it was.
    pub fn wait_for_any(
        &mut self,
        wanted: &[&str],
        timeout: Duration,
    ) -> Result<(usize, Line), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(line) = self.lines.get(self.seen) {
                self.seen += 1;
                if let Some(which) = wanted.iter().position(|text| line.text.contains(text)) {
                    return Ok((which, line.clone()));
                }
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Timeout {
                        wanted: wanted.join("\" or \""),
                        seconds: timeout.as_secs(),
                        last: self.last(),
                    });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Ended {
                        wanted: wanted.join("\" or \""),
                        last: self.last(),
                    });
                }
            }
        }
    }

    /// The next line, not looked at before, that contains `wanted`.
    pub fn wait_for(&mut self, wanted: &str, timeout: Duration) -> Result<Line, Error> {
        self.wait_for_any(&[wanted], timeout).map(|(_, line)| line)
    }

    /// Types a line on the guest's console.
    pub fn send(&mut self, text: &str) -> Result<(), Error> {
        self.keyboard
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| self.keyboard.flush())
            .map_err(|source| Error::Write { path: "the guest's console".into(), source })
    }

    /// Takes in what the guest printed before it ended.
    pub fn drain(&mut self) {
        // The reader ends, and with it the channel, when QEMU's stdout is closed.
        self.lines.extend(self.incoming.iter());
    }

    /// Everything that was read so far.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn last(&self) -> String {
        let from = self.lines.len().saturating_sub(15);
        let last = self.lines[from..].iter().map(|line| format!("    {}", line.text));
        last.collect::<Vec<_>>().join("\n")
    }
}

fn read(mut stdout: ChildStdout, mut log: File, started: Instant, lines: &Sender<Line>) {
    let mut buffer = [0; 4096];
    let mut line = None;
    // An error ends the line as the end of QEMU does.
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        let now = started.elapsed();
        for &byte in &buffer[..length] {
            let (at, text) = line.get_or_insert_with(|| (now, Vec::new()));
            match byte {
                b'\n' => {
                    send(*at, text, &mut log, lines);
                    line = None;
                }
                b'\r' | 0 => {}
                byte => text.push(byte),
            }
        }
    }
    if let Some((at, text)) = line {
        send(at, &text, &mut log, lines);
    }
}

fn send(at: Duration, text: &[u8], log: &mut File, lines: &Sender<Line>) {
    let text = String::from_utf8_lossy(text).into_owned();
    // The log is for people; a full disk shows elsewhere. A closed channel: nobody waits any more.
    let _ = writeln!(log, "{:9.3} {text}", at.as_secs_f64());
    let _ = lines.send(Line { at, text });
}
