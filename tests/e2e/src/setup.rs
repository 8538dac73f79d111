//! What the host needs for the architectures that are asked for, and no more: rustup's targets,
//! cross compilers, QEMU, the tools that read dumps. Packages are installed if we are root;
//! otherwise the command that would install them is named.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use kdump::search_path;
use purgatorio::facts::Arch;

use crate::debian;
use crate::process;
use crate::programs::{self, Target};

/// Something of the host's: a program's name or a file's path, and the Debian package with it.
type Need = (&'static str, &'static str);

/// What every end-to-end run needs.
const ANY_MACHINE: &[Need] = &[
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("makedumpfile", "makedumpfile"),
    // Checks kdump.service.
    ("systemd-analyze", "systemd"),
    ("gdb", "gdb"),
    ("readelf", "binutils"),
    ("dpkg-deb", "dpkg"),
    // The module that triggers panics.
    ("gcc", "gcc"),
    ("make", "make"),
    // libFuzzer.
    ("g++", "g++"),
    ("/usr/lib/x86_64-linux-gnu/libelf.so.1", "libelf1"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("sfdisk", "fdisk"),
    ("ganesha.nfsd", "nfs-ganesha"),
    ("/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so", "nfs-ganesha-vfs"),
    ("rpcbind", "rpcbind"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("/usr/lib/python3/dist-packages/kdumpfile/__init__.py", "python3-libkdumpfile"),
    ("/usr/lib/python3/dist-packages/drgn/__init__.py", "python3-drgn"),
];

/// What runs guests of an architecture and reads their dumps.
const fn machine(arch: Arch) -> &'static [Need] {
    match arch {
        Arch::X86_64 => &[
            ("qemu-system-x86_64", "qemu-system-x86"),
            ("crash", "crash"),
            ("openssl", "openssl"),
            ("sbsign", "sbsigntool"),
        ],
        Arch::I386 => &[("qemu-system-i386", "qemu-system-x86")],
        Arch::Ppc64le | Arch::Ppc64 => {
            &[("qemu-system-ppc64", "qemu-system-ppc"), ("gdb-multiarch", "gdb-multiarch")]
        }
    }
}

/// What builds an architecture's kernel, where Debian has none.
const fn kernel_build(arch: Arch) -> &'static [Need] {
    match arch {
        Arch::X86_64 | Arch::I386 | Arch::Ppc64le => &[],
        Arch::Ppc64 => &[
            ("powerpc64-linux-gnu-gcc", "gcc-powerpc64-linux-gnu"),
            ("gcc", "gcc"),
            ("/usr/include/stdlib.h", "libc6-dev"),
            ("make", "make"),
            ("bc", "bc"),
            ("flex", "flex"),
            ("bison", "bison"),
            ("xz", "xz-utils"),
        ],
    }
}

/// What compiles C and links static programs of an architecture, besides the Rust toolchain.
const fn linker(arch: Arch) -> &'static [Need] {
    match arch {
        Arch::X86_64 => &[("gcc", "gcc"), ("/usr/include/stdlib.h", "libc6-dev")],
        Arch::I386 => &[
            ("i686-linux-gnu-gcc", "gcc-i686-linux-gnu"),
            ("/usr/i686-linux-gnu/include/stdlib.h", "libc6-dev-i386-cross"),
        ],
        Arch::Ppc64 => &[
            ("powerpc64-linux-gnu-gcc", "gcc-powerpc64-linux-gnu"),
            ("/usr/powerpc64-linux-gnu/include/stdlib.h", "libc6-dev-ppc64-cross"),
            ("/usr/powerpc64le-linux-gnu/include/gnu/stubs-64-v2.h", "libc6-dev-ppc64el-cross"),
        ],
        Arch::Ppc64le => &[
            ("powerpc64le-linux-gnu-gcc", "gcc-powerpc64le-linux-gnu"),
            ("/usr/powerpc64le-linux-gnu/lib/libc.a", "libc6-dev-ppc64el-cross"),
        ],
    }
}

/// The targets of the purgatory images in an architecture's loader.
const fn purgatory_targets(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["x86_64-unknown-none"],
        // It loads kernels of 64-bit machines too.
        Arch::I386 => &["i586-unknown-linux-gnu", "x86_64-unknown-none"],
        Arch::Ppc64le => &["powerpc64le-unknown-linux-gnu"],
        Arch::Ppc64 => &["powerpc64-unknown-linux-musl"],
    }
}

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

/// Makes sure that the host can build the programs of `archs`, with a folder for apt's lists.
pub fn builds(folder: &Path, archs: &[Arch]) -> Result<(), Error> {
    rust_targets(archs)?;
    packages(folder, archs.iter().flat_map(|arch| linker(*arch)))
}

/// Makes sure that the host can build the programs of `archs` and run end-to-end scenarios on
/// machines of theirs.
pub fn host(folder: &Path, archs: &[Arch]) -> Result<(), Error> {
    rust_targets(archs)?;
    packages(folder, ANY_MACHINE.iter().chain(archs.iter().flat_map(|arch| of_machines(*arch))))
}

fn of_machines(arch: Arch) -> impl Iterator<Item = &'static Need> {
    [linker(arch), machine(arch), kernel_build(arch)].into_iter().flatten()
}

/// Installs what is missing of `needs`.
fn packages<'a>(folder: &Path, needs: impl Iterator<Item = &'a Need>) -> Result<(), Error> {
    let needs: Vec<&Need> = needs.collect();
    let missing: BTreeSet<&str> =
        needs.iter().filter(|(file, _)| !is_installed(file)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = needs.iter().map(|(_, package)| *package);
    install(folder, &with_every_qemu(missing, all))
}

/// QEMU's packages must be of one version: where one is missing, those that are there are brought
/// to the release that it comes from.
fn with_every_qemu<'a>(
    mut missing: BTreeSet<&'a str>,
    all: impl Iterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    if missing.iter().any(|package| is_qemu(package)) {
        missing.extend(all.filter(|package| is_qemu(package)));
    }
    missing
}

fn is_qemu(package: &str) -> bool {
    package.starts_with("qemu-")
}

fn is_installed(file: &str) -> bool {
    env::split_paths(&search_path::with_sbin()).any(|folder| folder.join(file).is_file())
}

/// rustup adds what it does not have yet and says nothing otherwise. Without rustup the targets
/// are the distribution's business, and the build names the one it misses.
fn rust_targets(archs: &[Arch]) -> Result<(), Error> {
    let rustup = || {
        let mut command = Command::new("rustup");
        command.args(["target", "list", "--installed"]);
        command.current_dir(programs::root());
        command
    };
    let Ok(installed) = process::output(&mut rustup()) else { return Ok(()) };
    let mut wanted: Vec<&str> = archs.iter().map(|arch| Target::of(*arch).triple).collect();
    wanted.extend(archs.iter().flat_map(|arch| purgatory_targets(*arch)));
    for target in wanted {
        if !installed.lines().any(|line| line == target) {
            process::retry(4, || {
                let mut command = Command::new("rustup");
                command.args(["target", "add", target]).current_dir(programs::root());
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
    if suite == OLD_QEMU && missing.iter().any(|package| is_qemu(package)) {
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
    // One index that cannot be had is no obstacle if the packages are in the others.
    let updated = process::retry(4, || apt(&[options.clone(), vec!["update".into()]].concat()));
    match process::retry(4, || apt(&arguments)) {
        Ok(_) => Ok(()),
        Err(error) => Err(updated.err().unwrap_or(error).into()),
    }
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
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_qemu_brings_the_others_along() {
        let all = ["gdb", "qemu-system-x86", "qemu-system-ppc"];
        let wanted = |missing: &[&'static str]| {
            with_every_qemu(missing.iter().copied().collect(), all.into_iter())
        };
        assert_eq!(wanted(&["gdb"]), BTreeSet::from(["gdb"]));
        let qemus = BTreeSet::from(["qemu-system-ppc", "qemu-system-x86"]);
        assert_eq!(wanted(&["qemu-system-ppc"]), qemus);
    }

    #[test]
    fn only_the_machines_that_are_asked_for_cost_anything() {
        let packages = |arch| of_machines(arch).map(|(_, package)| *package);
        for arch in [Arch::X86_64, Arch::I386] {
            assert!(packages(arch).any(|name| name == "qemu-system-x86"));
            assert!(!packages(arch).any(|name| name.contains("ppc") || name.contains("powerpc")));
        }
        let builds_kernels = |arch| packages(arch).any(|name| name == "gcc-powerpc64-linux-gnu");
        assert!(!builds_kernels(Arch::Ppc64le) && builds_kernels(Arch::Ppc64));
    }
}
