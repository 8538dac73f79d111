//! What the host needs: QEMU and the tools that read dumps. Installed if we are root; otherwise
//! the command that would install it is named.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::process;

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("makedumpfile", "makedumpfile"),
    ("gdb", "gdb"),
    ("readelf", "binutils"),
    ("dpkg-deb", "dpkg"),
];

/// rustup's targets: the no_std core of the loader, and static programs.
const TARGETS: [&str; 2] = ["x86_64-unknown-none", crate::programs::MUSL];

/// The release whose own QEMU lacks what the plugin needs (API version 4, QEMU 9.1): there QEMU
/// comes from backports, and so do the packages that must have the same version.
const OLD_QEMU: &str = "bookworm";

/// Something is missing and could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user has to do it.
    #[error("missing: {missing}\nas root, run:\n    {command}")]
    Missing {
        /// Packages.
        missing: String,
        /// What would install them.
        command: String,
    },
    /// The installation failed.
    #[error("cannot install what is missing")]
    Install(#[from] process::Error),
    /// apt's configuration could not be written.
    #[error("{path}: cannot write")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes sure that the host has everything, with a folder for apt's lists.
pub fn host(folder: &Path) -> Result<(), Error> {
    rust_targets()?;
    let missing: BTreeSet<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(folder, &missing)
}

/// The search path with the folders of system programs, which a user's may lack.
pub fn path_with_sbin() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&path_with_sbin()).any(|folder| folder.join(program).is_file())
}

/// rustup adds what it does not have yet and says nothing otherwise. Without rustup the targets
/// are the distribution's business, and the build names the one it misses.
fn rust_targets() -> Result<(), Error> {
    let rustup = || {
        let mut command = Command::new("rustup");
        command.args(["target", "list", "--installed"]);
        command.current_dir(crate::programs::root());
        command
    };
    let Ok(installed) = process::output(&mut rustup()) else { return Ok(()) };
    for target in TARGETS {
        if !installed.lines().any(|line| line == target) {
            process::retry(4, || {
                let mut command = Command::new("rustup");
                command.args(["target", "add", target]).current_dir(crate::programs::root());
                command
            })?;
        }
    }
    Ok(())
}

fn install(folder: &Path, missing: &BTreeSet<&str>) -> Result<(), Error> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or(OLD_QEMU)
        .to_owned();
    let options = apt_options(folder, &suite)?;
    let mut arguments = options.clone();
    arguments.extend(["install", "-y", "--no-install-recommends"].map(String::from));
    if suite == OLD_QEMU && missing.contains("qemu-system-x86") {
        arguments.extend(["-t".into(), format!("{suite}-backports")]);
    }
    arguments.extend(missing.iter().map(|package| (*package).to_owned()));
    if !is_root() {
        return Err(Error::Missing {
            missing: missing.iter().copied().collect::<Vec<_>>().join(" "),
            command: format!(
                "apt-get {} update && apt-get {}",
                options.join(" "),
                arguments.join(" ")
            ),
        });
    }
    process::retry(4, || apt(&[options.clone(), vec!["update".into()]].concat()))?;
    process::retry(4, || apt(&arguments))?;
    Ok(())
}

/// Sources and lists of our own, so that nothing below /etc/apt changes.
fn apt_options(folder: &Path, suite: &str) -> Result<Vec<String>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial")).map_err(failed(&lists))?;
    let sources = folder.join("sources.list");
    let text = debian::sources(suite) + &debian::backports(suite);
    fs::write(&sources, text).map_err(failed(&sources))?;
    let options = [
        format!("Dir::Etc::sourcelist={}", sources.display()),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={}", lists.display()),
        "APT::Sandbox::User=root".into(),
    ];
    Ok(options.into_iter().flat_map(|option| ["-o".into(), option]).collect())
}

fn apt(arguments: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command
}

/// /proc/self belongs to the user that runs us.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
