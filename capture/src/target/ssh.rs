//! A directory on a host with an SSH server, where each dump gets a directory of its own.
//!
//! Each step is a connection of its own. The dump is called `vmcore-incomplete.flat` until the host has
//! as many bytes with the same SHA-256 as were sent; only then it gets its final name, by a step
//! that a connection which broke before never starts.

mod client;
mod directory;

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use client::{Client, Error, IDENTITY, KNOWN_HOSTS, LIBRARIES, PROGRAM, host_key_alias};
use directory::Directory;

use crate::address::KernelMemory;
use crate::config::Config;
use crate::dump::{self, Options, Output, Progress, Saved, Stage};
use crate::journal::Journal;
use crate::manifest::{self, Manifest};
use crate::vmcore::Vmcore;
use crate::{journal, net, printk, target};

/// Bytes a second that a host reads at least; one that takes longer counts as silent.
const SLOWEST: u64 = 10_000_000;

/// How often it is looked whether the host has read the dump.
const LOOK: Duration = Duration::from_millis(100);

/// Who is there, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account<'a> {
    /// The user.
    pub user: &'a str,
    /// Name or address of the host.
    pub host: &'a str,
    /// TCP port of its SSH server.
    pub port: u16,
}

/// A host that takes the dump.
#[derive(Debug)]
pub struct Remote {
    directory: Directory,
}

/// Brings the network up, waits for the server, and makes the dump's directory below `path`.
pub(super) fn open(
    account: &Account,
    path: &Path,
    config: &Config,
    core: &Vmcore,
    journal: &mut Journal,
) -> Result<Remote, target::Error> {
    journal.say(net::up(&config.network, config.wait)?);
    let server = net::resolve(account.host, account.port)?;
    net::wait_for_server(server, config.wait)?;
    let client = Client {
        user: account.user.to_owned(),
        server,
        host_key_alias: host_key_alias(account.host, account.port),
        connect: config.wait,
    };
    let time = manifest::crash_time(&core.headers().info).unwrap_or_else(SystemTime::now);
    let directory = Directory::create(client, path, &manifest::directory_name(time))?;
    Ok(Remote { directory })
}

impl Remote {
    pub(super) fn place(&self) -> String {
        self.directory.path().to_owned()
    }

    pub(super) fn save_log(&self, core: &Vmcore) -> Result<u64, target::Error> {
        let mut memory = KernelMemory::new(core)?;
        self.directory.put("save the log", manifest::DMESG, |mut out| {
            Ok(printk::write_log(&mut memory, &mut out)?)
        })
    }

    pub(super) fn save_dump(
        &self,
        core: &Vmcore,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Saved, target::Error> {
        self.directory.put("save the dump", manifest::FLATTENED_INCOMPLETE, |out| {
            Ok(dump::save(core, options, Output::Stream(out), progress)?)
        })
    }

    pub(super) fn finish_dump(
        &self,
        saved: &Saved,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<[u8; 32], target::Error> {
        // A stream always has one.
        let sha256 = saved.sha256.unwrap_or_default();
        let bytes = saved.bytes;
        // The host says nothing while it reads the dump.
        let patience = Duration::from_secs(bytes / SLOWEST);
        let started = Instant::now();
        thread::scope(|scope| {
            let check = scope.spawn(|| {
                let names = (manifest::FLATTENED_INCOMPLETE, manifest::FLATTENED);
                self.directory.finish(names.0, names.1, bytes, &sha256)
            });
            while !check.is_finished() && started.elapsed() < patience {
                progress(&Progress { stage: Stage::Verify, done: 0, total: bytes, written: bytes });
                thread::sleep(LOOK);
            }
            check.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        Ok(sha256)
    }

    pub(super) fn save_manifest(&self, manifest: &Manifest) -> Result<(), target::Error> {
        let failed = |source| Error::Connection { what: "save the manifest", source };
        let text = manifest.to_json().map_err(failed)?;
        Ok(self.directory.replace("save the manifest", manifest::MANIFEST, &text)?)
    }

    /// Sends what was said; every step was a connection of its own, so nothing else is left open.
    pub(super) fn save_journal(self, journal: &Journal) -> Result<(), target::Error> {
        Ok(self.directory.replace("save the journal", journal::NAME, journal.text().as_bytes())?)
    }
}
