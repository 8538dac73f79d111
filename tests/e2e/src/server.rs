//! Servers that take dumps, on the host's loopback, which a guest's user network has at
//! [`ADDRESS`]. They are run by us with files of their own, and end with the value.

mod nfs;
mod ssh;

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::process;

/// Where a guest sees the host.
pub const ADDRESS: &str = "10.0.2.2";

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A server that does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error(transparent)]
    Program(#[from] process::Error),
    /// No port is free, or the server does not use it.
    #[error("cannot use a TCP port of the loopback; the log of the server is {log}")]
    Port {
        /// The log.
        log: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// NFS 4.
    Nfs,
    /// NFS 3, with its mount protocol.
    Nfs3,
    /// SSH.
    Ssh,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The folder in which it has its files.
    folder: PathBuf,
    /// What goes with its protocol.
    kind: Protocol,
    /// Its TCP port.
    pub port: u16,
    /// That of NFS 3's mount protocol.
    mount_port: u16,
    /// What it needs beside it.
    helper: Option<Child>,
}

impl Server {
    /// Starts a server with its files in `folder`, which is made.
    pub fn start(protocol: Protocol, folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let dumps = dumps(folder);
        fs::create_dir_all(&dumps).map_err(failed(&dumps))?;
        let log = folder.join("log");
        let free_port = || free_port().map_err(|source| Error::Port { log: log.clone(), source });
        let (port, mount_port) = (free_port()?, free_port()?);
        let (command, helper) = match protocol {
            Protocol::Nfs => (nfs::command(folder, &nfs::Version::Four { port })?, None),
            Protocol::Nfs3 => {
                let command = nfs::command(folder, &nfs::Version::Three { port, mount_port })?;
                let portmapper = folder.join("portmapper");
                fs::create_dir_all(&portmapper).map_err(failed(&portmapper))?;
                (command, nfs::portmapper(&portmapper)?)
            }
            Protocol::Ssh => (ssh::command(folder, port)?, None),
        };
        let child = spawn(command, folder)?;
        let folder = folder.to_owned();
        let mut server = Self { child, folder, kind: protocol, port, mount_port, helper };
        server.wait().map_err(|source| Error::Port { log, source })?;
        Ok(server)
    }

    /// The options of `kdump mkinitrd` that say how to reach it.
    pub fn target(&self) -> Result<Vec<String>, Error> {
        match self.kind {
            Protocol::Nfs => Ok(nfs::target(&nfs::Version::Four { port: self.port })),
            Protocol::Nfs3 => {
                let (port, mount_port) = (self.port, self.mount_port);
                Ok(nfs::target(&nfs::Version::Three { port, mount_port }))
            }
            Protocol::Ssh => ssh::target(&self.folder, self.port),
        }
    }

    /// The folder that dumps come to.
    pub fn dumps(&self) -> PathBuf {
        match self.kind {
            Protocol::Nfs | Protocol::Nfs3 => dumps(&self.folder).join("var/crash"),
            Protocol::Ssh => dumps(&self.folder),
        }
    }

    /// Ends it with everything that it started: what it was about to do is never done.
    pub fn kill(&mut self) {
        // Each of its sessions is a process of its own.
        for pid in descendants(self.child.id()) {
            // It may have ended by itself.
            let _ = process::output(Command::new("kill").args(["-KILL", &pid.to_string()]));
        }
        for child in [&mut self.child].into_iter().chain(&mut self.helper) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) if self.child.try_wait()?.is_some() => {
                    return Err(io::Error::other("the server ended"));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn dumps(folder: &Path) -> PathBuf {
    folder.join("dumps")
}

fn spawn(mut command: Command, folder: &Path) -> Result<Child, Error> {
    let log = folder.join("output");
    let file = fs::File::create(&log).map_err(failed(&log))?;
    let shown = process::show(&command);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(file);
    command.env("PATH", kdump::search_path::with_sbin());
    let start = |source| process::Error::Start { command: shown, source };
    Ok(command.spawn().map_err(start)?)
}

/// A port that nobody uses now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The processes that `pid` started, and those that they started.
fn descendants(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let below = children.iter().flat_map(|child| descendants(*child)).collect();
    [children, below].concat()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
