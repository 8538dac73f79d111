//! A boot that is measured: commands in the first kernel, then a panic if one is wanted.

use std::time::Duration;

use e2e::cell::Cell;
use e2e::first_boot::GuestFile;
use e2e::lab::{Lab, Watch};
use e2e::phases::{self, Phase, Stamp};
use e2e::qemu::{self, Qemu};
use e2e_guest::{Script, Step, Trigger};

use super::Error;

/// Far above what any step takes, also on a slow and busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the capture image's /init says first.
const CAPTURE_STARTED: &str = "kdump: started";

/// A command for the first kernel.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name in the log; no other command's name begins with it.
    pub name: &'static str,
    /// The program and its arguments.
    pub argv: Vec<String>,
}

/// What comes after the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// A panic, and the capture kernel up to its /init.
    Panic,
    /// Power-off.
    PowerOff,
}

/// What a boot printed, and when.
#[derive(Debug)]
pub struct Boot {
    cell: String,
    log: std::path::PathBuf,
    /// Every line.
    pub stamps: Vec<Stamp>,
}

/// Boots `cell` with `files` in it, runs `commands`, all of which have to succeed, and `then`.
pub fn boot(
    lab: &Lab,
    cell: &Cell,
    commands: &[Command],
    files: &[GuestFile],
    then: Then,
    watch: Watch,
) -> Result<Boot, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let step = |command: &Command| Step::Run {
        name: command.name.into(),
        argv: command.argv.clone(),
        uid: 0,
    };
    // Without it the first command pays for what the kernel does beside it.
    let mut steps = vec![Step::Settle];
    steps.extend(commands.iter().map(step));
    if then == Then::Panic {
        steps.push(Step::Panic { trigger: Trigger::Sysrq, cpu: 0 });
    }
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, files, None, watch)?;
    let mut boot =
        Boot { cell: cell.name.clone(), log: folder.join("serial.log"), stamps: Vec::new() };
    for command in commands {
        boot.succeeded(&mut qemu, command.name)?;
    }
    match then {
        Then::Panic => drop(wait_for(&mut qemu, CAPTURE_STARTED)?),
        Then::PowerOff => drop(qemu.wait_end(PATIENCE)?),
    }
    boot.stamps = match qemu.trace() {
        Some(trace) => phases::from_trace(trace)
            .map_err(|source| Error::File { path: trace.to_owned(), source })?,
        None => phases::from_serial(qemu.serial.lines()),
    };
    Ok(boot)
}

impl Boot {
    /// What the command `name` took.
    pub fn command(&self, name: &'static str) -> Result<Phase, Error> {
        phases::command(&self.stamps, name).ok_or_else(|| self.missing(name))
    }

    /// The steps after the panic, each counted from it.
    pub fn crash(&self) -> Vec<Phase> {
        phases::crash(&self.stamps)
    }

    /// The step `name` after the panic.
    pub fn since_panic(&self, name: &'static str) -> Result<Phase, Error> {
        self.crash().into_iter().find(|p| p.name == name).ok_or_else(|| self.missing(name))
    }

    /// What the commands printed.
    pub fn output(&self) -> Vec<String> {
        let after_mark = |stamp: &Stamp| Some(stamp.text.split_once("e2e: out ")?.1.to_owned());
        self.stamps.iter().filter_map(after_mark).collect()
    }

    /// The serial log of the boot.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }

    fn succeeded(&self, qemu: &mut Qemu, name: &str) -> Result<(), Error> {
        let mark = format!("e2e: ran {name} ");
        let line = wait_for(qemu, &mark)?;
        let seen = line.split_once(&mark).map_or("", |(_, rest)| rest).trim();
        if seen == "exit=0" {
            return Ok(());
        }
        Err(Error::Command {
            run: self.cell.clone(),
            command: name.into(),
            seen: seen.into(),
            log: self.log.clone(),
        })
    }

    fn missing(&self, step: &str) -> Error {
        Error::Step { run: self.cell.clone(), step: step.into(), log: self.log.clone() }
    }
}

fn wait_for(qemu: &mut Qemu, text: &str) -> Result<String, Error> {
    Ok(qemu.serial.wait_for(text, PATIENCE).map_err(qemu::Error::from)?.text)
}
