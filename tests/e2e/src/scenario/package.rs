//! Our Debian package in a Debian system: installed, upgraded, removed, purged, with kexec-tools and
//! without. Nothing is booted; the programs only say their version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{Error, prove};
use crate::cell::Cell;
use crate::chroot;
use crate::debian_root::{self, is_of};
use crate::lab::{self, Lab};
use crate::outcome::Evidence;
use crate::process;

/// The loader, whoever's.
const KEXEC: &str = "/sbin/kexec";
/// That of kexec-tools while ours is installed.
const THEIRS: &str = "/sbin/kexec.kexec-tools";
const OUR_NAME: &str = "kexec (purgatorio) ";
const THEIR_NAME: &str = "kexec-tools ";
const SETTINGS: &str = "etc/kdump.toml";
/// What the administrator writes there, and an upgrade must leave alone.
const CHANGED: &str = "# changed by hand\n";
/// What the programs make in use.
const MADE: [&str; 2] = ["var/cache/purgatorio/kernel.vmlinux", "var/lib/kdump/initramfs-1.img"];
/// What they make and nothing may remove.
const DUMP: &str = "var/crash/1/vmcore";

/// The package's life in a system of its own.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let (debian, archive) = lab.debian_root(cell.arch)?;
    let root = folder.join("root");
    debian_root::copy(&debian, &root).map_err(lab::Error::from)?;
    let debs = archive.debs(debian_root::NAME).map_err(lab::Error::from)?;
    let theirs = debs.iter().find(|deb| is_of(deb, "kexec-tools"));
    let theirs =
        theirs.ok_or_else(|| Error::Proof("the system has no package kexec-tools".into()))?;
    let ours = lab.package(cell.arch)?;
    let system = System { root };

    beside(&system, &ours, theirs, &folder)?;
    removed(&system)?;
    alone(&system, &ours)?;
    let mut evidence = Evidence::new();
    let name = |path: &Path| json!(path.file_name().unwrap_or_default().to_string_lossy());
    evidence.insert("package".into(), name(&ours));
    evidence.insert("beside".into(), name(theirs));
    fs::remove_dir_all(&system.root)
        .map_err(|source| Error::File { path: system.root.clone(), source })?;
    Ok(evidence)
}

/// kexec-tools comes, goes and comes back while ours is there, and ours gets newer.
fn beside(system: &System, ours: &Path, theirs: &Path, folder: &Path) -> Result<(), Error> {
    system.version_is(KEXEC, THEIR_NAME)?;
    system.install(ours)?;
    system.is_whole("purgatorio")?;
    system.is_whole("kexec-tools")?;
    system.version_is(KEXEC, OUR_NAME)?;
    system.version_is(THEIRS, THEIR_NAME)?;
    system.version_is("/usr/sbin/kdump", "kdump ")?;

    system.write(SETTINGS, CHANGED)?;
    system.install(&newer(ours, folder)?)?;
    let settings = system.read(SETTINGS)?;
    prove(settings == CHANGED, || format!("the upgrade made of {SETTINGS}:\n{settings}"))?;
    system.is_whole("purgatorio")?;
    system.is_whole("kexec-tools")?;
    system.version_is(KEXEC, OUR_NAME)?;

    // kdump-tools depends on kexec-tools, for which ours stands in.
    system.dpkg(&["--remove", "kexec-tools"])?;
    system.version_is(KEXEC, OUR_NAME)?;
    system.is_not_there(THEIRS)?;
    system.install(theirs)?;
    system.is_whole("purgatorio")?;
    system.is_whole("kexec-tools")?;
    system.version_is(KEXEC, OUR_NAME)?;
    system.version_is(THEIRS, THEIR_NAME)
}

/// What ours took, kexec-tools has back; settings stay until the package is purged.
fn removed(system: &System) -> Result<(), Error> {
    for made in MADE.into_iter().chain([DUMP]) {
        system.write(made, "")?;
    }
    system.dpkg(&["--remove", "purgatorio"])?;
    system.version_is(KEXEC, THEIR_NAME)?;
    system.is_whole("kexec-tools")?;
    system.is_not_there(THEIRS)?;
    let diverted = system.run("dpkg-divert", &["--list", "*kexec*"])?;
    prove(diverted.is_empty(), || format!("after the removal is diverted:\n{diverted}"))?;
    system.read(SETTINGS)?;

    system.dpkg(&["--purge", "purgatorio"])?;
    for made in MADE.into_iter().chain([SETTINGS]) {
        system.is_not_there(made)?;
    }
    system.read(DUMP).map(drop)
}

/// Without kexec-tools.
fn alone(system: &System, ours: &Path) -> Result<(), Error> {
    system.dpkg(&["--purge", "kdump-tools", "kexec-tools"])?;
    system.is_not_there(KEXEC)?;
    system.install(ours)?;
    system.is_whole("purgatorio")?;
    system.version_is(KEXEC, OUR_NAME)?;
    system.dpkg(&["--purge", "purgatorio"])?;
    system.is_not_there(KEXEC)
}

/// The package with a version after its own, and nothing else changed.
fn newer(package: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let unpacked = folder.join("newer");
    let run = |command: &mut Command| process::output(command).map_err(lab::Error::from);
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let failed = |source| Error::File { path: control.clone(), source };
    let text = fs::read_to_string(&control).map_err(failed)?;
    let newer = |line: &str| match line.strip_prefix("Version: ") {
        Some(version) => format!("Version: {version}+1\n"),
        None => format!("{line}\n"),
    };
    fs::write(&control, text.lines().map(newer).collect::<String>()).map_err(failed)?;
    let deb = folder.join("newer.deb");
    run(Command::new("dpkg-deb").arg("--build").arg(&unpacked).arg(&deb))?;
    Ok(deb)
}

/// A Debian system in a folder.
struct System {
    root: PathBuf,
}

impl System {
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        Ok(chroot::run(&self.root, program, arguments).map_err(lab::Error::from)?)
    }

    fn dpkg(&self, arguments: &[&str]) -> Result<(), Error> {
        self.run("dpkg", arguments).map(drop)
    }

    fn install(&self, package: &Path) -> Result<(), Error> {
        let installed = debian_root::install(&self.root, &[package]);
        Ok(installed.map_err(lab::Error::from)?)
    }

    /// Every file of the package is what it was made as, but for settings.
    fn is_whole(&self, package: &str) -> Result<(), Error> {
        let verified = self.run("dpkg", &["--verify", package])?;
        let changed: Vec<&str> = verified.lines().filter(|line| !line.contains(" c /")).collect();
        prove(changed.is_empty(), || format!("dpkg --verify {package}:\n{}", changed.join("\n")))
    }

    fn version_is(&self, program: &str, begins: &str) -> Result<(), Error> {
        let version = self.run(program, &["--version"])?;
        prove(version.starts_with(begins), || {
            format!("{program} --version says {version:?}, not {begins:?}…")
        })
    }

    fn is_not_there(&self, path: &str) -> Result<(), Error> {
        let there = self.path(path).symlink_metadata().is_ok();
        prove(!there, || format!("{path} is there"))
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        let path = self.path(path);
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| Error::File { path, source })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
