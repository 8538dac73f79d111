//! What to save, where, and how to end: `/etc/kdump-capture.conf` of the capture image, and
//! `kdump.KEY=VALUE` on the kernel command line, which overrides it.
//!
//! The file has one `key = value` a line; `#` starts a comment line. Keys:
//!
//! | key | value | default |
//! |---|---|---|
//! | `target` | block device: a path, `UUID=`, `LABEL=` or `PARTUUID=` | none: must be given |
//! | `filesystem` | `ext2`, `ext3` or `ext4` | `ext4` |
//! | `path` | directory on the target's file system | `/var/crash` |
//! | `action` | at the end: `reboot`, `poweroff` or `halt` | `reboot` |
//! | `wait` | seconds to wait for the target | 60 |
//! | `stall` | seconds without any progress after which the capture is given up | 300 |
//! | `timeout` | seconds for the whole capture | 14400 |
//! | `module` | a module to load, below `/lib/modules`; repeated, in loading order | none |

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Path of the file in the capture image.
pub const PATH: &str = "/etc/kdump-capture.conf";

/// Directory of the capture image that `module` entries are relative to.
pub const MODULES: &str = "/lib/modules";

/// Prefix of the keys on the kernel command line.
const PREFIX: &str = "kdump.";

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
}

/// How the capture ends, saved or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Restart the machine.
    #[default]
    Reboot,
    /// Switch the machine off.
    PowerOff,
    /// Stop and keep the console readable.
    Halt,
}

impl FromStr for Action {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reboot" => Ok(Self::Reboot),
            "poweroff" => Ok(Self::PowerOff),
            "halt" => Ok(Self::Halt),
            _ => Err("reboot, poweroff or halt"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
            Self::Halt => "halt",
        })
    }
}

/// Which block device the dump goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A device node.
    Path(PathBuf),
    /// The file system's UUID, lower case.
    Uuid(String),
    /// The file system's label.
    Label(String),
    /// The partition's UUID in a GPT, or `SIGNATURE-NN` in an MBR, lower case.
    PartUuid(String),
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let target = match text.split_once('=') {
            Some(("UUID", id)) => Self::Uuid(id.to_ascii_lowercase()),
            Some(("LABEL", label)) => Self::Label(label.to_owned()),
            Some(("PARTUUID", id)) => Self::PartUuid(id.to_ascii_lowercase()),
            Some(_) | None if text.starts_with("/dev/") => Self::Path(text.into()),
            Some(_) | None => return Err("/dev/NAME, UUID=, LABEL= or PARTUUID="),
        };
        if text.ends_with('=') { Err("a value after =") } else { Ok(target) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Uuid(id) => write!(f, "UUID={id}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
            Self::PartUuid(id) => write!(f, "PARTUUID={id}"),
        }
    }
}

/// The file system on the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filesystem {
    /// Second extended file system.
    Ext2,
    /// Third extended file system.
    Ext3,
    /// Fourth extended file system.
    #[default]
    Ext4,
}

impl Filesystem {
    /// The kernel's name for it, as `mount` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
        }
    }
}

impl FromStr for Filesystem {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ext2" => Ok(Self::Ext2),
            "ext3" => Ok(Self::Ext3),
            "ext4" => Ok(Self::Ext4),
            _ => Err("ext2, ext3 or ext4; other file systems are not supported yet"),
        }
    }
}

/// The settings of one capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The device; `None` until it is given.
    pub target: Option<Target>,
    /// What is on it.
    pub filesystem: Filesystem,
    /// Directory on the target's file system under which each dump gets its own.
    pub path: PathBuf,
    /// How to end.
    pub action: Action,
    /// How long to wait for the target.
    pub wait: Duration,
    /// How long the worker may be silent.
    pub stall: Duration,
    /// How long everything may take.
    pub timeout: Duration,
    /// Modules in loading order, relative to [`MODULES`].
    pub modules: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: None,
            filesystem: Filesystem::default(),
            path: "/var/crash".into(),
            action: Action::default(),
            wait: Duration::from_secs(60),
            stall: Duration::from_secs(300),
            timeout: Duration::from_secs(4 * 3600),
            modules: Vec::new(),
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

    /// Takes the `kdump.KEY=VALUE` words of a kernel command line; the same rules as [`read`].
    ///
    /// [`read`]: Self::read
    pub fn override_by(&mut self, command_line: &str) -> Vec<Error> {
        let words = command_line_words(command_line);
        let settings = words.iter().filter_map(|word| word.strip_prefix(PREFIX));
        let taken = settings.map(|setting| match setting.split_once('=') {
            Some((key, value)) => self.set(key, value),
            None => Err(Error::Line { line: format!("{PREFIX}{setting}") }),
        });
        taken.filter_map(Result::err).collect()
    }

    /// Takes one setting as it would stand in the file.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "target" => self.target = Some(parse(key, value)?),
            "filesystem" => self.filesystem = parse(key, value)?,
            "path" => self.path = directory(key, value)?,
            "action" => self.action = parse(key, value)?,
            "wait" => self.wait = seconds(key, value)?,
            "stall" => self.stall = seconds(key, value)?,
            "timeout" => self.timeout = seconds(key, value)?,
            "module" => self.modules.push(value.into()),
            _ => return Err(Error::Key { key: key.to_owned() }),
        }
        Ok(())
    }
}

/// The file's text, from which [`Config::read`] gives the same configuration.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            writeln!(f, "target = {target}")?;
        }
        writeln!(f, "filesystem = {}", self.filesystem.name())?;
        writeln!(f, "path = {}", self.path.display())?;
        writeln!(f, "action = {}", self.action)?;
        writeln!(f, "wait = {}", self.wait.as_secs())?;
        writeln!(f, "stall = {}", self.stall.as_secs())?;
        writeln!(f, "timeout = {}", self.timeout.as_secs())?;
        for module in &self.modules {
            writeln!(f, "module = {}", module.display())?;
        }
        Ok(())
    }
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

fn bad_value(key: &str, value: &str, expected: &'static str) -> Error {
    Error::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

/// Splits a command line as the kernel does (lib/cmdline.c, next_arg, Linux 6.1): at white space
/// outside double quotes, which are removed; after `--` come the arguments of init.
fn command_line_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|word| word.push(other)),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).take_while(|word| word != "--").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_configuration_reads_back_as_itself() {
        let config = Config {
            target: Some(Target::Label("my disk".into())),
            filesystem: Filesystem::Ext3,
            path: "/dumps".into(),
            action: Action::Halt,
            wait: Duration::from_secs(5),
            stall: Duration::from_secs(6),
            timeout: Duration::from_secs(7),
            modules: vec!["kernel/b.ko".into(), "kernel/a.ko".into()],
        };
        assert_eq!(Config::read(&config.to_string()), (config, vec![]));
        assert_eq!(Config::read(&Config::default().to_string()), (Config::default(), vec![]));
    }

    #[test]
    fn what_cannot_be_taken_is_told_and_the_rest_is_taken() {
        let (config, errors) =
            Config::read("# note\n\naction=halt\nfoo = 1\nnonsense\nwait = 0\nfilesystem = xfs");
        assert_eq!(config, Config { action: Action::Halt, ..Config::default() });
        let told: Vec<String> = errors.iter().map(Error::to_string).collect();
        assert_eq!(
            told,
            [
                "configuration: foo is not a known key",
                "configuration: \"nonsense\" is not `key = value`",
                "configuration: wait = 0: expected a number of seconds, at least 1",
                "configuration: filesystem = xfs: expected ext2, ext3 or ext4; \
                 other file systems are not supported yet",
            ]
        );
    }

    #[test]
    fn the_command_line_overrides() {
        let mut config = Config::read("target = /dev/vda\naction = reboot").0;
        let line = "root=/dev/sda kdump.action=poweroff kdump.target=\"LABEL=my disk\" \
                    kdump.path=../x -- kdump.action=halt\n";
        let errors = config.override_by(line);
        assert_eq!(config.action, Action::PowerOff);
        assert_eq!(config.target, Some(Target::Label("my disk".into())));
        assert_eq!(config.path, Path::new("/var/crash"));
        assert!(matches!(&errors[..], [Error::Value { key, .. }] if key == "path"));
    }

    #[test]
    fn targets_are_paths_or_tags() {
        assert_eq!("/dev/vda1".parse(), Ok(Target::Path("/dev/vda1".into())));
        assert_eq!("UUID=AB-cd".parse(), Ok(Target::Uuid("ab-cd".into())));
        assert_eq!("LABEL=A=B".parse(), Ok(Target::Label("A=B".into())));
        assert_eq!("PARTUUID=1234ABCD-01".parse(), Ok(Target::PartUuid("1234abcd-01".into())));
        for bad in ["", "vda", "UUID=", "ID=3", "LABEL="] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }
}
