//! QEMU's monitor protocol (docs/interop/qmp-spec.rst).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::End;

const TIMEOUT: Duration = Duration::from_secs(60);

/// The monitor refused something or went away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU did not open its socket: it has ended, or hangs.
    #[error("QEMU does not answer at {path}; qemu.log says why")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The last attempt.
        source: io::Error,
    },
    /// The command could not be sent.
    #[error("QMP {command}: the connection broke")]
    Broken {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// No answer came.
    #[error("QMP {command}: no answer")]
    Silent {
        /// The command.
        command: String,
    },
    /// QEMU says no.
    #[error("QMP {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

/// A connection to the monitor.
#[derive(Debug)]
pub struct Qmp {
    socket: UnixStream,
    incoming: Receiver<Value>,
    events: Vec<Value>,
}

impl Qmp {
    /// Connects as soon as QEMU has opened the socket at `path`.
    pub(super) fn connect(path: &Path, child: &mut Child) -> Result<Self, Error> {
        let socket =
            open(path, child).map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        let reader = socket
            .try_clone()
            .map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        let (sender, incoming) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str(&line) else { continue };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Self { socket, incoming, events: Vec::new() };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and returns its result.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let message = json!({ "execute": command, "arguments": arguments });
        self.socket
            .write_all(format!("{message}\n").as_bytes())
            .map_err(|source| Error::Broken { command: command.into(), source })?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = self
                .incoming
                .recv_timeout(left)
                .map_err(|_| Error::Silent { command: command.into() })?;
            if let Some(error) = answer.get("error") {
                return Err(Error::Refused { command: command.into(), reason: error.to_string() });
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            self.events.push(answer);
        }
    }

    /// Writes `length` bytes of guest memory from physical address `address` to `file`.
    pub fn save_memory(&mut self, address: u64, length: u64, file: &Path) -> Result<(), Error> {
        let arguments = json!({ "val": address, "size": length, "filename": file });
        self.execute("pmemsave", arguments).map(drop)
    }

    /// Why the machine went down, after QEMU has ended.
    pub(super) fn shutdown_reason(&mut self) -> End {
        self.events.extend(self.incoming.iter());
        let shutdown = self.events.iter().find(|event| event["event"] == "SHUTDOWN");
        match shutdown.and_then(|event| event["data"]["reason"].as_str()) {
            Some("guest-reset") => End::Reset,
            Some("guest-shutdown") => End::PowerOff,
            Some(_) | None => End::Other,
        }
    }
}

fn open(path: &Path, child: &mut Child) -> io::Result<UnixStream> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                if child.try_wait()?.is_some() || Instant::now() > deadline {
                    return Err(error);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
