//! A directory on a host with an SSH server, where each dump gets a directory of its own.
//!
//! Each step is a connection of its own. The dump is called `vmcore-incomplete` until the host has
//! as many bytes with the same SHA-256 as were sent; only then it gets its final name, by a step
//! that a connection which broke before never starts.

mod client;
mod directory;

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

pub use client::{Client, Error, IDENTITY, KNOWN_HOSTS, LIBRARIES, PROGRAM, host_key_alias};
use directory::{Checked, Directory};

use crate::address::KernelMemory;
use crate::config::Config;
use crate::journal::Journal;
use crate::manifest::{self, Manifest};
use crate::vmcore::Vmcore;
use crate::{dump, journal, net, printk, target};

const INCOMPLETE: &str = "vmcore-incomplete";

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
    /// How the host checked the dump.
    checked: Option<Checked>,
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
    Ok(Remote { directory, checked: None })
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
        &mut self,
        core: &Vmcore,
        progress: &mut dyn FnMut(&'static str, u64),
    ) -> Result<dump::Copied, target::Error> {
        let copied = self.directory.put("save the dump", INCOMPLETE, |out| {
            Ok::<_, target::Error>(dump::send(core, out, &mut |done| progress("sending", done))?)
        })?;
        progress("checking", copied.size);
        let checked =
            self.directory.finish(INCOMPLETE, manifest::VMCORE, copied.size, &copied.sha256)?;
        self.checked = Some(checked);
        Ok(copied)
    }

    pub(super) fn save_manifest(&self, manifest: &Manifest) -> Result<(), target::Error> {
        let failed = |source| Error::Connection { what: "save the manifest", source };
        let text = manifest.to_json().map_err(failed)?;
        self.directory.put("save the manifest", manifest::MANIFEST, |out: &mut dyn Write| {
            Ok::<(), target::Error>(out.write_all(&text).map_err(failed)?)
        })
    }

    /// Sends what was said; every step was a connection of its own, so nothing else is left open.
    pub(super) fn close(self, journal: &mut Journal) -> Result<(), target::Error> {
        if self.checked == Some(Checked::Size) {
            journal.say("the host has no program that checks SHA-256: only the size was compared");
        }
        let failed = |source| Error::Connection { what: "save the log of the capture", source };
        let text = journal.text();
        self.directory.put("save the log of the capture", journal::NAME, |out: &mut dyn Write| {
            Ok::<(), target::Error>(out.write_all(text.as_bytes()).map_err(failed)?)
        })
    }
}
