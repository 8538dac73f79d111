//! What to save, where, and how to end: `/etc/kdump-capture.conf` of the capture image, and
//! `kdump.KEY=VALUE` on the kernel command line, which overrides it.
//!
//! The file has one `key = value` a line; `#` starts a comment line. Keys:
//!
//! | key | value | default |
//! |---|---|---|
//! | `target` | `FILESYSTEM:DEVICE`, `raw:DEVICE`, `nfs:SERVER:/DIRECTORY` or `ssh:USER@HOST`; repeated, in the order in which they are tried | none: must be given |
//! | `path` | of the target above: directory for the dumps | `/var/crash` |
//! | `overwrite` | of the raw target above: `yes` destroys a file system that is found on it | `no` |
//! | `port` | of the ssh target above: TCP port | 22 |
//! | `options` | of the nfs target above: mount options, as in nfs(5) | none |
//! | `format` | `kdump` or `elf` | `kdump` |
//! | `compression` | of pages: `zlib`, `zstd`, `snappy` or `none` | `zlib` |
//! | `level` | which pages are left out: makedumpfile's number, 0 to 31, or names: `zero,cache,user,free` | 31 |
//! | `threads` | how many threads filter and compress | as many as there are CPUs |
//! | `keep` | how many dumps the target keeps, the new one included | all |
//! | `action` | at the end: `reboot`, `poweroff`, `halt` or `shell` | `reboot` |
//! | `on_failure` | without a dump: `next-target`, an action, or `next-target,ACTION` | `next-target` |
//! | `wait` | seconds to wait for each target | 60 |
//! | `stall` | seconds without any progress after which the capture is given up | 300 |
//! | `timeout` | seconds for the whole capture | 14400 |
//! | `interface` | of the network: name or MAC address | the first with a link |
//! | `address` | `dhcp` or `ADDRESS/PREFIX` | `dhcp` |
//! | `gateway` | address of the router | none |
//! | `nameserver` | address of a name server; repeated | none |
//! | `module` | a module to load, below `/lib/modules`; repeated, in loading order | none |
//!
//! On the command line the first `kdump.target=` replaces all targets of the image, and keys of a
//! target that stand before it are for all targets that have them.

mod action;
mod command_line;
mod network;
mod target;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use crate::dump::{Compression, Format};
pub use crate::filter::Level;
pub use action::{Action, OnFailure};
pub use network::{Address, Network};
pub use target::{DEFAULT_PATH, Device, Filesystem, Target};

/// Path of the file in the capture image.
pub const PATH: &str = "/etc/kdump-capture.conf";

/// Directory of the capture image that `module` entries are relative to.
pub const MODULES: &str = "/lib/modules";

/// The shell of the capture image, where it has one.
pub const SHELL: &str = "/bin/sh";

/// Prefix of the keys on the kernel command line.
const PREFIX: &str = "kdump.";

/// The key that says what loaded the capture kernel.
const LOADER: &str = "loader";

/// The word of the capture kernel's command line by which it knows what loaded it: `version` is what
/// `kexec --version` prints. `None` if that cannot stand in a command line.
pub(crate) fn loader_word(version: &str) -> Option<String> {
    let version = version.lines().next()?.trim();
    let plain = |c: char| c == ' ' || c.is_ascii_graphic() && c != '"';
    let usable = !version.is_empty() && version.chars().all(plain);
    usable.then(|| format!("{PREFIX}{LOADER}=\"{version}\""))
}

/// Keys that belong to a target.
const OF_TARGETS: [&str; 4] = ["path", "overwrite", "port", "options"];

/// What a setting has instead of a valid value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such key.
    #[error("configuration: {key} is not a known key")]
    Key {
        /// The key as found.
        key: String,
    },
    /// A line without `=`.
    #[error("configuration: {line:?} is not `key = value`")]
    Line {
        /// The line as found.
        line: String,
    },
    /// A value that its key cannot have.
    #[error("configuration: {key} = {value}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value as found.
        value: String,
        /// What can stand there.
        expected: &'static str,
    },
    /// A key of a target without one that it could be for.
    #[error("configuration: {key} is for no target: put it after a target that has it")]
    NoTarget {
        /// The key.
        key: String,
    },
}

/// The settings of one capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the dump goes, in the order in which they are tried.
    pub targets: Vec<Target>,
    /// What the dump is written as.
    pub format: Format,
    /// How its pages are compressed.
    pub compression: Compression,
    /// Which pages are left out.
    pub level: Level,
    /// How many threads filter and compress; `None` for one on each CPU.
    pub threads: Option<NonZeroUsize>,
    /// How many dumps a target keeps; `None` for all.
    pub keep: Option<NonZeroUsize>,
    /// How to end.
    pub action: Action,
    /// What to do without a dump.
    pub on_failure: OnFailure,
    /// How long to wait for each target.
    pub wait: Duration,
    /// How long the worker may be silent.
    pub stall: Duration,
    /// How long everything may take.
    pub timeout: Duration,
    /// How targets on other machines are reached.
    pub network: Network,
    /// Modules in loading order, relative to [`MODULES`].
    pub modules: Vec<PathBuf>,
    /// What loaded the capture kernel, as it calls itself. Only the command line that it gave to the
    /// kernel can tell.
    pub loader: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            format: Format::Kdump,
            compression: Compression::Zlib,
            level: Level::ALL,
            threads: None,
            keep: None,
            action: Action::default(),
            on_failure: OnFailure::default(),
            wait: Duration::from_secs(60),
            stall: Duration::from_secs(300),
            timeout: Duration::from_secs(4 * 3600),
            network: Network::default(),
            modules: Vec::new(),
            loader: None,
        }
    }
}

impl Config {
    /// Takes every setting of the file's text. What cannot be taken is returned and keeps its
    /// default: after a crash, a half-read configuration is better than none.
    pub fn read(text: &str) -> (Self, Vec<Error>) {
        let mut config = Self::default();
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let taken = lines.map(|line| match line.split_once('=') {
            Some((key, value)) => config.set(key.trim(), value.trim()),
            None => Err(Error::Line { line: line.to_owned() }),
        });
        let errors = taken.filter_map(Result::err).collect();
        (config, errors)
    }

    /// Takes the `kdump.KEY=VALUE` words of a kernel command line; one more key than a file has is
    /// that of [`with_loader`](crate::capture_command_line::with_loader).
    ///
    /// The same rules as [`read`](Self::read), but for targets: the first one here replaces all,
    /// and their keys before it are for all that have them.
    pub fn override_by(&mut self, command_line: &str) -> Vec<Error> {
        let words = command_line::words(command_line);
        let settings = words.iter().filter_map(|word| word.strip_prefix(PREFIX));
        let mut has_targets = false;
        let taken = settings.map(|setting| {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Error::Line { line: format!("{PREFIX}{setting}") });
            };
            if key == LOADER {
                self.loader = Some(value.to_owned());
                return Ok(());
            }
            if key == "target" && !has_targets {
                self.targets = vec![parse(key, value)?];
                has_targets = true;
                return Ok(());
            }
            if OF_TARGETS.contains(&key) && !has_targets {
                return self.set_of_all_targets(key, value);
            }
            self.set(key, value)
        });
        taken.filter_map(Result::err).collect()
    }

    /// Takes one setting as it would stand in the file.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "target" => self.targets.push(parse(key, value)?),
            "format" => self.format = parse(key, value)?,
            "compression" => self.compression = parse(key, value)?,
            "level" => self.level = level(key, value)?,
            "threads" => self.threads = Some(count(key, value)?),
            "keep" => self.keep = Some(count(key, value)?),
            "action" => self.action = parse(key, value)?,
            "on_failure" => self.on_failure = parse(key, value)?,
            "wait" => self.wait = seconds(key, value)?,
            "stall" => self.stall = seconds(key, value)?,
            "timeout" => self.timeout = seconds(key, value)?,
            "interface" => self.network.interface = Some(value.to_owned()),
            "address" => self.network.address = parse(key, value)?,
            "gateway" => self.network.gateway = Some(address(key, value)?),
            "nameserver" => self.network.nameservers.push(address(key, value)?),
            "module" => self.modules.push(value.into()),
            key if OF_TARGETS.contains(&key) => {
                let missing = || Error::NoTarget { key: key.to_owned() };
                set_of_target(self.targets.last_mut().ok_or_else(missing)?, key, value)?;
            }
            _ => return Err(Error::Key { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Takes a key of targets for all that have it.
    fn set_of_all_targets(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let mut found = false;
        for target in &mut self.targets {
            match set_of_target(target, key, value) {
                Ok(()) => found = true,
                Err(Error::NoTarget { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        if found { Ok(()) } else { Err(Error::NoTarget { key: key.to_owned() }) }
    }
}

fn set_of_target(target: &mut Target, key: &str, value: &str) -> Result<(), Error> {
    match (key, target) {
        ("path", target) if target.path().is_some() => {
            let directory = directory(key, value)?;
            target.path_mut().into_iter().for_each(|path| *path = directory.clone());
        }
        ("overwrite", Target::Raw { overwrite, .. }) => *overwrite = yes_or_no(key, value)?,
        ("port", Target::Ssh { port, .. }) => {
            *port = value.parse().map_err(|_| bad_value(key, value, "a TCP port, such as 22"))?;
        }
        ("options", Target::Nfs { options, .. }) => value.clone_into(options),
        (key, _target_without_it) => return Err(Error::NoTarget { key: key.to_owned() }),
    }
    Ok(())
}

/// The file's text, from which [`Config::read`] gives the same configuration.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for target in &self.targets {
            write_target(f, target)?;
        }
        writeln!(f, "format = {}", self.format)?;
        writeln!(f, "compression = {}", self.compression)?;
        writeln!(f, "level = {}", self.level)?;
        write_all(f, "threads", self.threads)?;
        write_all(f, "keep", self.keep)?;
        writeln!(f, "action = {}", self.action)?;
        writeln!(f, "on_failure = {}", self.on_failure)?;
        writeln!(f, "wait = {}", self.wait.as_secs())?;
        writeln!(f, "stall = {}", self.stall.as_secs())?;
        writeln!(f, "timeout = {}", self.timeout.as_secs())?;
        write_all(f, "interface", &self.network.interface)?;
        writeln!(f, "address = {}", self.network.address)?;
        write_all(f, "gateway", self.network.gateway)?;
        write_all(f, "nameserver", &self.network.nameservers)?;
        write_all(f, "module", self.modules.iter().map(|module| module.display()))
    }
}

fn write_target(f: &mut fmt::Formatter<'_>, target: &Target) -> fmt::Result {
    writeln!(f, "target = {target}")?;
    write_all(f, "path", target.path().map(Path::display))?;
    match target {
        Target::Raw { overwrite: true, .. } => writeln!(f, "overwrite = yes"),
        Target::Ssh { port, .. } => writeln!(f, "port = {port}"),
        Target::Nfs { options, .. } if !options.is_empty() => writeln!(f, "options = {options}"),
        Target::Raw { .. } | Target::Filesystem { .. } | Target::Nfs { .. } => Ok(()),
    }
}

/// A line for each value.
fn write_all(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    values: impl IntoIterator<Item = impl fmt::Display>,
) -> fmt::Result {
    values.into_iter().try_for_each(|value| writeln!(f, "{key} = {value}"))
}

fn parse<T: FromStr<Err = &'static str>>(key: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|expected| bad_value(key, value, expected))
}

fn directory(key: &str, value: &str) -> Result<PathBuf, Error> {
    let path = Path::new(value);
    let leaves = path.components().any(|part| part.as_os_str() == "..");
    if !path.is_absolute() || leaves {
        return Err(bad_value(key, value, "a path that starts with / and has no .."));
    }
    Ok(path.to_owned())
}

fn seconds(key: &str, value: &str) -> Result<Duration, Error> {
    let seconds: Option<u32> = value.parse().ok().filter(|seconds| *seconds > 0);
    let seconds =
        seconds.ok_or_else(|| bad_value(key, value, "a number of seconds, at least 1"))?;
    Ok(Duration::from_secs(seconds.into()))
}

fn level(key: &str, value: &str) -> Result<Level, Error> {
    let expected = "a number from 0 to 31, or some of zero, cache, non-private-cache, user, free";
    value.parse().map_err(|_| bad_value(key, value, expected))
}

fn count(key: &str, value: &str) -> Result<NonZeroUsize, Error> {
    value.parse().map_err(|_| bad_value(key, value, "a number, at least 1"))
}

fn address<T: FromStr>(key: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| bad_value(key, value, "an address, such as 192.168.0.1"))
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(bad_value(key, value, "yes or no")),
    }
}

fn bad_value(key: &str, value: &str, expected: &'static str) -> Error {
    Error::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests;
