//! `/etc/kdump.toml`: what the operator wants. `kdump/dist/kdump.toml` documents every key.

mod section;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::config::{self, Config};
use section::Section;
use toml::de::DeTable;

use crate::ssh_client;

/// Where the file is, below the root directory.
pub const PATH: &str = "etc/kdump.toml";

/// The file with every key commented out: documentation, and the defaults.
pub const DEFAULTS: &str = include_str!("../../dist/kdump.toml");

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file has mistakes: all of them.
    #[error("{}: {}", path.display(), Lines(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the order of the tables that are read.
        problems: Vec<Problem>,
    },
}

/// One mistake in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Line from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A key that does not exist.
    #[error("line {line}: {key} is not a known key: {}", did_you_mean(suggestion.as_deref(), known))]
    UnknownKey {
        /// Line from 1.
        line: usize,
        /// The key with its tables.
        key: String,
        /// The nearest key that does exist, if one is near.
        suggestion: Option<String>,
        /// The keys of this table.
        known: String,
    },
    /// Another kind of value.
    #[error("line {line}: {key}: expected {expected}")]
    Type {
        /// Line from 1.
        line: usize,
        /// The key with its tables.
        key: String,
        /// What can stand there.
        expected: &'static str,
    },
    /// A value that the key cannot have.
    #[error("line {line}: {key}: {source}")]
    Value {
        /// Line from 1.
        line: usize,
        /// The key with its tables.
        key: String,
        /// What can stand there.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn did_you_mean(suggestion: Option<&str>, known: &str) -> String {
    match suggestion {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {known}"),
    }
}

/// One problem on the line of the file's name, several below it.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => only.fmt(f),
            several => several.iter().try_for_each(|problem| write!(f, "\n  {problem}")),
        }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the capture image does. Without a target, dumps go to the file system that holds
    /// `/var/crash`.
    pub capture: Config,
    /// Modules for the capture image beside those that its targets need.
    pub add_drivers: Vec<String>,
    /// A static shell for the capture image, for actions that start one.
    pub shell: Option<PathBuf>,
    /// How ssh targets are reached.
    pub ssh: ssh_client::Sources,
    /// The capture kernel.
    pub kernel: Kernel,
}

/// The capture kernel and how it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its file; `None` for the running kernel's.
    pub image: Option<PathBuf>,
    /// Its release, which names its modules; `None` for the running kernel's.
    pub release: Option<String>,
    /// The whole command line; `None` makes it from the running kernel's.
    pub command_line: Option<String>,
    /// Parameters to leave out of the running kernel's command line: names, or whole words.
    pub remove: Vec<String>,
    /// Words to add to it.
    pub append: Vec<String>,
    /// More options for `kexec`.
    pub kexec_options: Vec<String>,
}

impl Settings {
    /// Reads the file; without one the defaults hold.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        };
        Self::parse(&text).map_err(|problems| Error::Invalid { path: path.to_owned(), problems })
    }

    /// Parses the file's text; all that is wrong with it is told.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |at| section::line_of(text, &at));
            vec![Problem::Syntax { line, message: error.message().to_owned() }]
        })?;
        let mut settings = Self::default();
        let mut root = Section::root(text, table.get_ref());
        settings.take(&mut root);
        let problems = root.finish();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn take(&mut self, root: &mut Section<'_>) {
        let capture = &mut self.capture;
        root.tables("target", |target| {
            set(target, capture, &[("to", "target")]);
            set(target, capture, &["path", "overwrite", "port", "options"].map(|key| (key, key)));
        });
        root.table("dump", |dump| {
            let keys = ["format", "level", "compression", "threads", "keep"];
            set(dump, capture, &keys.map(|key| (key, key)));
        });
        root.table("capture", |end| {
            let keys = ["action", "on_failure", "wait", "stall", "timeout"];
            set(end, capture, &keys.map(|key| (key, key)));
            end.list("add_drivers", |name| push(&mut self.add_drivers, name));
            end.scalar("shell", |path| file(&mut self.shell, path));
        });
        root.table("network", |network| {
            let keys = ["interface", "address", "gateway"];
            set(network, capture, &keys.map(|key| (key, key)));
            network.list("nameservers", |address| capture.set("nameserver", address));
        });
        let ssh = &mut self.ssh;
        root.table("ssh", |section| {
            section.scalar("key", |path| file(&mut ssh.key, path));
            section.scalar("host_key", |path| file(&mut ssh.host_key, path));
        });
        let kernel = &mut self.kernel;
        root.table("kernel", |section| {
            section.scalar("image", |path| file(&mut kernel.image, path));
            section.scalar("release", |release| text(&mut kernel.release, release));
            section.scalar("command_line", |line| text(&mut kernel.command_line, line));
            section.list("remove", |word| push(&mut kernel.remove, word));
            section.list("append", |word| push(&mut kernel.append, word));
            section.list("kexec_options", |option| push(&mut kernel.kexec_options, option));
        });
    }
}

/// Sets `config`'s keys (second) to the values of the section's (first).
fn set(section: &mut Section<'_>, config: &mut Config, keys: &[(&'static str, &'static str)]) {
    for (key, of_config) in keys {
        section.scalar(key, |value| config.set(of_config, value));
    }
}

fn push(list: &mut Vec<String>, value: &str) -> Result<(), config::Error> {
    list.push(value.to_owned());
    Ok(())
}

fn text(place: &mut Option<String>, value: &str) -> Result<(), config::Error> {
    *place = Some(value.to_owned());
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("{path:?}: expected a path that starts with /")]
struct NotAbsolute {
    path: String,
}

fn file(place: &mut Option<PathBuf>, path: &str) -> Result<(), NotAbsolute> {
    if !Path::new(path).is_absolute() {
        return Err(NotAbsolute { path: path.to_owned() });
    }
    *place = Some(path.into());
    Ok(())
}

#[cfg(test)]
mod tests;
