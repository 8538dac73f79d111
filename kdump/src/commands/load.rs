//! `kdump load`: loads the capture kernel as the settings want it.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use capture::capture_command_line::{CommandLine, Decision};
use capture::config::{Config, Target};
use capture::console::chain;
use clap::Args;
use purgatorio::machine::{MachineError, status};
use purgatorio::plan;

use super::options::MachineOptions;
use crate::kexec::{self, Kexec};
use crate::loaded::{self, Loaded};
use crate::lock::{self, Lock};
use crate::machine::Machine;
use crate::prepare::{self, Prepared, is_present, prepare};
use crate::status::Finding;
use crate::{new_file, settings};

/// A file that exists while a target is not there, below the root directory: the udev rule looks at
/// it.
const ABSENT: &str = "run/kdump/target-absent";

/// Options of `kdump load`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 what the settings want is loaded, 1 it is not, and the reason is told"
)]
pub struct Arguments {
    #[command(flatten)]
    machine: MachineOptions,
    /// Load even if the same is loaded already
    #[arg(short, long)]
    force: bool,
    /// Show what would be loaded, with the reasons for the command line, and load nothing
    #[arg(long)]
    dry_run: bool,
    /// Only build the capture image of this kernel release and unpack the kernel, for its next boot
    #[arg(long, value_name = "KVER", conflicts_with_all = ["force", "dry_run"])]
    prepare: Option<String>,
    /// The loader [default: the kexec beside this program, or the one in PATH]
    #[arg(long, value_name = "FILE")]
    kexec: Option<PathBuf>,
}

/// Why nothing new is loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// Kernel, image or command line cannot be had.
    #[error(transparent)]
    Prepare(#[from] prepare::Error),
    /// Another one holds the lock, or there is nowhere to lock.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The directory of images cannot be made.
    #[error("cannot create {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image cannot be kept.
    #[error(transparent)]
    Image(#[from] new_file::Error<io::Error>),
    /// The record cannot be kept.
    #[error(transparent)]
    Record(#[from] loaded::Error),
    /// What is not there cannot be marked.
    #[error("cannot write {}", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The loader failed.
    #[error(transparent)]
    Kexec(#[from] kexec::Error),
    /// The kernel does not say what it has.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The loader said that it had loaded, the kernel says it has nothing.
    #[error("kexec succeeded, but the kernel says that nothing is loaded")]
    NotLoaded,
}

/// Loads what the settings want, unless it is loaded.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = arguments.machine.machine();
    // Before anything is looked at: one that waits must not load what was wanted before.
    let _lock = if arguments.dry_run { None } else { Some(Lock::take(&machine)?) };
    let mut settings = arguments.machine.settings()?;
    if let Some(release) = &arguments.prepare {
        settings.kernel.image = None;
        settings.kernel.release = Some(release.clone());
    }
    if !arguments.dry_run && arguments.prepare.is_none() {
        // Before the image: it may be for want of a target that there is none.
        warn_of_absent(&machine, &prepare::config(&machine, &settings)?)?;
    }
    let prepared = prepare(&machine, &settings, &arguments.machine.programs())?;
    let kexec = Kexec::find(arguments.kexec.as_deref());
    if arguments.dry_run {
        show(&machine, &kexec, &prepared);
        return Ok(());
    }
    let is_new = keep_image(&machine, &prepared)?;
    if arguments.prepare.is_some() {
        say_image(&prepared, is_new);
        unpack_kernel(&machine, &kexec, &prepared.wanted);
        return Ok(());
    }
    if !arguments.force && is_loaded_already(&machine, &prepared.wanted)? {
        println!("kdump: already loaded: {}", in_short(&prepared.wanted));
        return Ok(());
    }
    say_image(&prepared, is_new);
    load(&machine, &kexec, &prepared.wanted)
}

fn is_loaded_already(machine: &Machine, wanted: &Loaded) -> Result<bool, Failure> {
    if !is_loaded(machine)? {
        return Ok(false);
    }
    // A record that cannot be understood is replaced.
    Ok(Loaded::read(machine).ok().flatten().as_ref() == Some(wanted))
}

/// Whether the kernel has a capture kernel, whoever loaded it.
fn is_loaded(machine: &Machine) -> Result<bool, MachineError> {
    Ok(status::loaded(&machine.sysroot(), plan::Target::Crash)?.unwrap_or(false))
}

/// Puts the image in its place, unless it is there already; returns whether it was not.
fn keep_image(machine: &Machine, prepared: &Prepared) -> Result<bool, Failure> {
    let path = machine.of_absolute(&prepared.wanted.image.path);
    if fs::read(&path).is_ok_and(|kept| kept == prepared.image) {
        return Ok(false);
    }
    let directory = path.with_file_name("");
    fs::create_dir_all(&directory)
        .map_err(|source| Failure::Directory { path: directory, source })?;
    new_file::replace_private(&path, |out| out.write_all(&prepared.image))?;
    Ok(true)
}

fn load(machine: &Machine, kexec: &Kexec, wanted: &Loaded) -> Result<(), Failure> {
    let result = kexec.run(&kexec.load_arguments(machine, wanted));
    let loaded = is_loaded(machine)?;
    if !loaded || result.is_ok() {
        // What was recorded before is not there any more.
        Loaded::remove(machine)?;
    }
    let said = result?;
    if !said.is_empty() {
        println!("{said}");
    }
    if !loaded {
        return Err(Failure::NotLoaded);
    }
    wanted.write(machine)?;
    println!("kdump: loaded {}", in_short(wanted));
    Ok(())
}

/// Says which targets are not there. What udev starts when a device appears looks at
/// [`ABSENT`]: such a target's drivers are not in the image.
fn warn_of_absent(machine: &Machine, config: &Config) -> Result<(), Failure> {
    let absent: Vec<&Target> =
        config.targets.iter().filter(|target| !is_present(machine, target)).collect();
    for target in &absent {
        let finding = Finding::TargetMissing { target: target.to_string() };
        println!("kdump: warning: {finding}");
    }
    let path = machine.path(ABSENT);
    let marked = if absent.is_empty() { new_file::remove(&path) } else { fs::write(&path, "") };
    marked.map_err(|source| Failure::Mark { path, source })
}

/// Has the loader unpack the kernel ahead of its first load. That only saves time then.
fn unpack_kernel(machine: &Machine, kexec: &Kexec, wanted: &Loaded) {
    let kernel = machine.of_absolute(&wanted.kernel.path).display().to_string();
    if let Err(error) = kexec.run(&["--prepare".to_owned(), kernel]) {
        println!("kdump: the kernel is not unpacked ahead: {}", chain(&error));
    }
}

fn in_short(wanted: &Loaded) -> String {
    let targets: Vec<&str> = wanted.targets.iter().map(|seen| seen.target.as_str()).collect();
    format!("{} for dumps to {}", wanted.kernel.path.display(), targets.join(", then "))
}

fn say_image(prepared: &Prepared, is_new: bool) {
    let image = &prepared.wanted.image;
    let what = if is_new { "built" } else { "up to date:" };
    println!("kdump: {what} {} ({} bytes)", image.path.display(), image.bytes);
}

fn show(machine: &Machine, kexec: &Kexec, prepared: &Prepared) {
    let wanted = &prepared.wanted;
    println!("kernel        {} ({})", wanted.kernel.path.display(), wanted.kernel.release);
    println!("image         {} ({} bytes)", wanted.image.path.display(), wanted.image.bytes);
    for target in &wanted.targets {
        println!("target        {}", target.target);
    }
    println!("command line  {}", wanted.command_line);
    show_reasons(&prepared.command_line);
    println!("\nkexec {}", kexec.load_arguments(machine, wanted).join(" "));
    println!("\nConfiguration of the image:\n{}", prepared.config);
}

fn show_reasons(line: &CommandLine) {
    for (word, decision) in &line.words {
        match decision {
            Decision::Kept => println!("    {word}"),
            Decision::Dropped(why) => println!("  - {word}: {why}"),
            Decision::Added(why) => println!("  + {word}: {why}"),
        }
    }
}
