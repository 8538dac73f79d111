//! Where log, dump and manifest go: one kind of place for each [`Target`].

mod directory;
mod filesystem;
mod nfs;
pub mod raw;
pub mod ssh;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::config::{Config, Target};
use crate::console::chain;
use crate::dump::{Options, Progress, Saved};
use crate::journal::Journal;
use crate::manifest::{self, Manifest};
use crate::vmcore::{self, Vmcore};
use crate::{address, block, dump, mount, net, printk};

/// Why a target did not get everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The core cannot be used.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The device cannot be used.
    #[error(transparent)]
    Block(#[from] block::Error),
    /// The file system cannot be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// The dump was not written.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// The log was not written.
    #[error(transparent)]
    Log(#[from] printk::Error),
    /// The log cannot be looked for.
    #[error("cannot read the dead kernel's memory")]
    Memory(#[from] address::Error),
    /// The server cannot be reached.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// The SSH server did not take something.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
    /// There is too little space, seen before writing.
    #[error(
        "the target has {available} bytes free and the dump needs about {needed}: free {} bytes, \
         or name a larger target", needed.saturating_sub(*available)
    )]
    Space {
        /// Free bytes.
        available: u64,
        /// Bytes of the dump.
        needed: u64,
    },
    /// A file or directory cannot be made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A raw target has something that would be destroyed.
    #[error(
        "{} has {found}, which a dump would destroy: name another device, or make the image with \
         --overwrite", path.display()
    )]
    Occupied {
        /// The device node.
        path: PathBuf,
        /// What it has.
        found: String,
    },
    /// A raw target has no room.
    #[error("{} is too small for any dump: name a larger device", path.display())]
    TooSmall {
        /// The device node.
        path: PathBuf,
    },
}

/// A target that is ready to be written.
#[derive(Debug)]
pub enum Destination {
    /// A file system on a block device or a server.
    Filesystem(filesystem::Mounted),
    /// A block device without file system.
    Raw(raw::Raw),
    /// A directory on an SSH server.
    Ssh(ssh::Remote),
}

impl Destination {
    /// Makes `target` ready for the dump of `core`: waits for it, mounts it, makes the dump's own
    /// directory.
    pub fn open(
        target: &Target,
        config: &Config,
        core: &Vmcore,
        journal: &mut Journal,
    ) -> Result<Self, Error> {
        match target {
            Target::Filesystem { device, filesystem, path } => {
                let mounted = filesystem::open(device, *filesystem, path, config, core)?;
                Ok(Self::Filesystem(mounted))
            }
            Target::Nfs { server, export, path, options } => {
                let share = nfs::Share { server, export, options };
                Ok(Self::Filesystem(nfs::open(&share, path, config, core, journal)?))
            }
            Target::Ssh { user, host, port, path } => {
                let account = ssh::Account { user, host, port: *port };
                Ok(Self::Ssh(ssh::open(&account, path, config, core, journal)?))
            }
            Target::Raw { device, overwrite } => {
                Ok(Self::Raw(raw::Raw::open(device, *overwrite, config)?))
            }
        }
    }

    /// Where the dump will be found, as a user of the target sees it.
    pub fn place(&self) -> String {
        match self {
            Self::Filesystem(mounted) => mounted.directory.place(),
            Self::Raw(raw) => raw.place(),
            Self::Ssh(remote) => remote.place(),
        }
    }

    /// Where the dump itself will be found.
    pub fn dump(&self) -> String {
        match self {
            Self::Raw(raw) => raw.place(),
            Self::Filesystem(_) | Self::Ssh(_) => format!("{}/{}", self.place(), self.dump_name()),
        }
    }

    /// The name of the dump there.
    pub fn dump_name(&self) -> &'static str {
        match self {
            Self::Filesystem(_) | Self::Raw(_) => manifest::VMCORE,
            Self::Ssh(_) => manifest::FLATTENED,
        }
    }

    /// Saves the dead kernel's log; returns the number of its records.
    pub fn save_log(&mut self, core: &Vmcore) -> Result<u64, Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_log(core),
            Self::Raw(raw) => raw.save_log(core),
            Self::Ssh(remote) => remote.save_log(core),
        }
    }

    /// Saves the dump under a name that says it is incomplete.
    pub fn save_dump(
        &mut self,
        core: &Vmcore,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Saved, Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_dump(core, options, progress),
            Self::Raw(raw) => raw.save_dump(core, options, progress),
            Self::Ssh(remote) => remote.save_dump(core, options, progress),
        }
    }

    /// Checks that the dump is on the target as it was written, gives it its final name, and returns
    /// its SHA-256.
    pub fn finish_dump(
        &mut self,
        core: &Vmcore,
        saved: &Saved,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<[u8; 32], Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.finish_dump(core, saved, progress),
            Self::Raw(raw) => raw.finish_dump(core, saved, progress),
            Self::Ssh(remote) => remote.finish_dump(saved, progress),
        }
    }

    /// Saves what can be said about the dump, in place of what was said before.
    pub fn save_manifest(&mut self, manifest: &Manifest) -> Result<(), Error> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.save_manifest(manifest),
            Self::Raw(raw) => raw.save_manifest(manifest),
            Self::Ssh(remote) => remote.save_manifest(manifest),
        }
    }

    /// The journal goes on in a file of the target, where it can have one.
    pub fn open_journal(&self, journal: &mut Journal) -> io::Result<()> {
        match self {
            Self::Filesystem(mounted) => mounted.directory.open_journal(journal),
            // They get the journal at the end: a device has no file that grows, and to a host every
            // line would be a connection.
            Self::Raw(_) | Self::Ssh(_) => Ok(()),
        }
    }

    /// Removes the oldest dumps until there are `keep`, and says so.
    pub fn rotate(&self, keep: NonZeroUsize, journal: &mut Journal) {
        let rotated = match self {
            Self::Filesystem(mounted) => mounted.directory.rotate(keep),
            // The dump before is gone already.
            Self::Raw(_) => return,
            Self::Ssh(_) => {
                return journal.say("older dumps stay: they are not removed on an SSH server");
            }
        };
        match rotated {
            Ok(rotated) => {
                for name in rotated.removed {
                    journal.say(format_args!("removed the older dump {name}"));
                }
                for (path, error) in rotated.failed {
                    let path = path.display();
                    journal.say(format_args!("the older dump {path} stays: {error}"));
                }
            }
            Err(error) => journal.say(format_args!("older dumps cannot be looked for: {error}")),
        }
    }

    /// Writes everything out, with the journal where it is not there yet, and lets go of the target.
    pub fn close(self, journal: &mut Journal) -> Result<(), Error> {
        let kept = match self {
            Self::Filesystem(mounted) => return mounted.close(),
            Self::Raw(raw) => raw.save_journal(journal),
            Self::Ssh(remote) => remote.save_journal(journal),
        };
        // The dump does not depend on it.
        if let Err(error) = kept {
            journal.say(format_args!("this log is not saved: {}", chain(&error)));
        }
        Ok(())
    }
}

/// Fails if the dump will most likely not fit into `available` bytes.
fn check_space(
    core: &Vmcore,
    options: &Options,
    available: u64,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), Error> {
    let needed = dump::estimate_size(core, options, progress)?.expected;
    if needed <= available { Ok(()) } else { Err(Error::Space { available, needed }) }
}
