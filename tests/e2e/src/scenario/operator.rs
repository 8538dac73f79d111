//! The operator's way: `kdump load` on the machine itself makes the capture image from
//! /etc/kdump.toml and loads it, `kdump status` says whether it would work, and the dump is where
//! the settings say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e_guest::{Script, Step};
use kdump::modules::{self, Module, ModuleTree};
use purgatorio::facts::Arch;
use serde_json::{Value, json};

use super::crash::{copy_dump, dump_disk, nonce, panic_now, remove, saved};
use super::guest::{Ran, ran, run_step, show_step, value, waits};
use super::{Error, PATIENCE, proof, prove};
use crate::cell::{Cell, LOADER, SECOND_KERNEL};
use crate::disk::TARGET;
use crate::dump;
use crate::first_boot::GuestFile;
use crate::lab::{Lab, Watch};
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::process;
use crate::qemu::{End, Qemu};

const KDUMP: &str = "/usr/sbin/kdump";
const LOADED: &str = "/sys/kernel/kexec_crash_loaded";

/// Settings as they are, as they are not any more, of a disk that is gone, and of two of which one is.
const SETTINGS: [(&str, &[&str], &str); 4] = [
    ("/etc/kdump.toml", &[TARGET], "/var/crash"),
    ("/e2e/changed.toml", &[TARGET], "/elsewhere"),
    ("/e2e/gone.toml", &["LABEL=gone"], "/var/crash"),
    ("/e2e/one-gone.toml", &["LABEL=gone", TARGET], "/var/crash"),
];

/// `kdump status`: would work, nothing loaded, would fail, cannot be told.
const WOULD_WORK: i32 = 0;
const NOT_LOADED: i32 = 1;
const WOULD_FAIL: i32 = 2;
const UNKNOWN: i32 = 3;

/// A machine without reserved memory, then one with, up to the saved dump: how long the crash took,
/// what was seen, and the dump.
pub fn run(lab: &Lab, cell: &Cell) -> Result<(Vec<Phase>, Evidence, PathBuf), Error> {
    let mut evidence = Evidence::new();
    not_reserved(lab, cell, &mut evidence)?;
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, cell)?;
    let modules = modules_of_disk(cell)?;
    let nonce = nonce();
    let mut steps = vec![Step::Nonce { text: nonce.clone() }];
    steps.extend(insert(cell, &modules));
    steps.extend(story().iter().flat_map(|(name, argv, _)| step(name, argv)));
    steps.extend([
        Step::Wait { name: "panic".into() },
        Step::Panic { trigger: cell.trigger, cpu: cell.panic_cpu },
    ]);
    let files = files(lab, cell, modules)?;
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &files, Some(&disk), Watch::Plain)?;
    for (name, _, expected) in story() {
        expected.prove(name, &mut qemu, &mut evidence)?;
    }
    waits(&mut qemu, "panic")?;
    panic_now(&mut qemu, cell)?;
    let saved = saved(&mut qemu)?;
    let dump = copy_dump(&disk, &saved, &folder)?;
    remove(&disk.image)?;
    proof::nonce_in_log(&folder, &nonce, &mut evidence)?;
    if cell.arch == Arch::X86_64 {
        // makedumpfile reads only dumps of the machine it was built for.
        let log = dump::kernel_log(&dump)?;
        prove(log.contains(&format!("nonce {nonce}")), || {
            "makedumpfile --dump-dmesg does not show the nonce".into()
        })?;
        evidence.insert("makedumpfile_log_lines".into(), json!(log.lines().count()));
    }
    loader_named(&folder, &mut evidence)?;
    inspected(lab, cell, &folder, &mut evidence)?;
    let phases = phases::crash(&phases::from_serial(qemu.serial.lines()));
    Ok((phases, evidence, dump))
}

/// The manifest has the version of the loader that was used, and so of its purgatory.
fn loader_named(folder: &Path, evidence: &mut Evidence) -> Result<(), Error> {
    let path = folder.join("manifest.json");
    let text = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
    let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
    let loader = manifest["loader"].as_str().unwrap_or_default();
    prove(loader.starts_with("kexec (purgatorio) "), || {
        format!("the manifest does not name the loader: {manifest:#}")
    })?;
    evidence.insert("loader".into(), json!(loader));
    Ok(())
}

/// `kdump inspect` finds the kernel, its end and the checksum as they should be.
fn inspected(lab: &Lab, cell: &Cell, folder: &Path, evidence: &mut Evidence) -> Result<(), Error> {
    // It fails unless everything that it checks is good.
    let found = process::output(Command::new(lab.kdump()).arg("inspect").arg(folder));
    let found = found.map_err(crate::lab::Error::from)?;
    for part in [&cell.kernel.release(), "sysrq triggered crash", "SHA-256      good"] {
        prove(found.contains(part), || {
            format!("kdump inspect does not say {part:?} in:\n{found}")
        })?;
    }
    evidence.insert("inspect".into(), json!(found.lines().collect::<Vec<_>>()));
    Ok(())
}

/// Without reserved memory `load` says what to do, and `status` does too.
fn not_reserved(lab: &Lab, cell: &Cell, evidence: &mut Evidence) -> Result<(), Error> {
    let cell =
        Cell { name: format!("{}-not-reserved", cell.name), crashkernel: None, ..cell.clone() };
    let folder = lab.fresh_folder(&cell.name)?;
    let disk = dump_disk(&folder, &cell)?;
    let modules = modules_of_disk(&cell)?;
    let story = [
        ("load", kdump(&["load"]), Expected::said(1, "crashkernel=")),
        ("status", kdump(&["status", "--json"]), Expected::said(NOT_LOADED, "\"not-reserved\"")),
    ];
    let mut steps: Vec<Step> = insert(&cell, &modules).collect();
    steps.extend(story.iter().flat_map(|(name, argv, _)| step(name, argv)));
    let files = files(lab, &cell, modules)?;
    let mut qemu =
        lab.boot(&cell, &folder, &Script { steps }, &files, Some(&disk), Watch::Plain)?;
    for (name, _, expected) in story {
        expected.prove(name, &mut qemu, evidence)?;
    }
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::PowerOff, || format!("the machine ended by {end:?}, not by power-off"))?;
    remove(&disk.image)
}

/// What a command must do.
struct Expected {
    code: i32,
    says: &'static str,
    /// Whether a capture kernel is loaded after it.
    loaded: bool,
}

impl Expected {
    fn loaded(code: i32, says: &'static str) -> Self {
        Self { code, says, loaded: true }
    }

    fn said(code: i32, says: &'static str) -> Self {
        Self { code, says, loaded: false }
    }

    fn prove(&self, name: &str, qemu: &mut Qemu, evidence: &mut Evidence) -> Result<(), Error> {
        let Ran { code, output } = ran(qemu, name)?;
        let loaded = value(qemu, &format!("e2e: show {LOADED} "))?;
        let said = output.join("\n");
        prove(
            code == Some(self.code)
                && said.contains(self.says)
                && loaded == u8::from(self.loaded).to_string(),
            || {
                format!(
                    "{name}: exit code {code:?} (wanted {}), {LOADED} {loaded}, wanted {:?} in:\n{said}",
                    self.code, self.says
                )
            },
        )?;
        evidence.insert(name.into(), json!({ "exit": code, "said": output }));
        Ok(())
    }
}

/// The operator's day, and what must come of it.
fn story() -> Vec<(&'static str, Vec<String>, Expected)> {
    let by_hand = [LOADER, "-p", "--append=by hand", SECOND_KERNEL].map(str::to_owned).to_vec();
    vec![
        ("not-loaded", kdump(&["status"]), Expected::said(NOT_LOADED, "run kdump load")),
        ("dry-run", kdump(&["load", "--dry-run"]), Expected::said(0, "+ reset_devices: ")),
        ("load", kdump(&["load"]), Expected::loaded(0, "kdump: loaded /boot/vmlinu")),
        ("load-again", kdump(&["load"]), Expected::loaded(0, "already loaded")),
        ("ready", kdump(&["status"]), Expected::loaded(WOULD_WORK, "ready: ")),
        ("estimate", kdump(&["estimate", "--json"]), Expected::loaded(0, "\"crashkernel\"")),
        ("changed", with(1, &["status", "--json"]), Expected::loaded(WOULD_FAIL, "\"stale\"")),
        (
            "gone",
            with(2, &["status", "--json"]),
            Expected::loaded(WOULD_FAIL, "\"target-missing\""),
        ),
        ("load-gone", with(2, &["load"]), Expected::loaded(1, "LABEL=gone: not on this machine")),
        (
            "load-one-gone",
            with(3, &["load"]),
            Expected::loaded(0, "warning: ext4:LABEL=gone is not there"),
        ),
        ("one-gone", with(3, &["status"]), Expected::loaded(WOULD_WORK, "LABEL=gone is not there")),
        ("unload", kdump(&["unload"]), Expected::said(0, "unloaded")),
        ("by-hand", by_hand, Expected::loaded(0, "")),
        ("unknown", kdump(&["status"]), Expected::loaded(UNKNOWN, "not by kdump load")),
        ("load-over", kdump(&["load"]), Expected::loaded(0, "kdump: loaded")),
        ("ready-again", kdump(&["status", "--json"]), Expected::loaded(WOULD_WORK, "would-work")),
    ]
}

fn kdump(arguments: &[&str]) -> Vec<String> {
    std::iter::once(&KDUMP).chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn with(settings: usize, arguments: &[&str]) -> Vec<String> {
    kdump(&[arguments, &["--settings", SETTINGS[settings].0]].concat())
}

/// A command, and whether something is loaded after it.
fn step(name: &str, argv: &[String]) -> [Step; 2] {
    [run_step(name, argv.to_vec()), show_step(LOADED)]
}

/// What the first kernel needs to see the disk.
fn modules_of_disk(cell: &Cell) -> Result<Vec<Module>, Error> {
    let failed = |error: modules::Error| Error::Proof(crate::outcome::explain(&error));
    let tree = ModuleTree::open(&cell.kernel.modules).map_err(failed)?;
    let drivers = kdump::mkinitrd::default_drivers(&tree);
    let mut wanted: Vec<&str> = drivers.iter().map(String::as_str).collect();
    wanted.push("ext4");
    modules::resolve(&tree, &wanted).map_err(failed)
}

fn modules_folder(cell: &Cell) -> String {
    format!("/lib/modules/{}", cell.kernel.release())
}

fn insert<'a>(cell: &'a Cell, modules: &'a [Module]) -> impl Iterator<Item = Step> + 'a {
    let folder = modules_folder(cell);
    modules
        .iter()
        .map(move |module| Step::LoadModule { path: format!("{folder}/{}", module.path.display()) })
}

/// An installed system: programs, kernel, modules, settings.
fn files(lab: &Lab, cell: &Cell, modules: Vec<Module>) -> Result<Vec<GuestFile>, Error> {
    let dist = lab.programs(cell.arch)?.dist;
    let program = |name: &str| GuestFile::program(&format!("/usr/sbin/{name}"), &dist.join(name));
    let kernel = cell.kernel.image.file_name().unwrap_or_default().to_string_lossy();
    let folder = modules_folder(cell);
    let builtin = cell.kernel.modules.join("modules.builtin");
    let mut files = ["kdump", "kexec", "kdump-capture"].map(program).to_vec();
    files.push(GuestFile::copy(&format!("/boot/{kernel}"), &cell.kernel.image));
    files.push(GuestFile::copy(&format!("{folder}/modules.builtin"), &builtin));
    for module in modules {
        let path = format!("{folder}/{}", module.path.display());
        files.push(GuestFile::new(&path, module.data));
    }
    for (path, devices, directory) in SETTINGS {
        let target =
            |device: &&str| format!("[[target]]\nto = \"ext4:{device}\"\npath = \"{directory}\"\n");
        files.push(GuestFile::new(path, devices.iter().map(target).collect::<String>()));
    }
    Ok(files)
}
