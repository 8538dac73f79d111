//! What a rehearsal runs as process 1 of the virtual machine's *first* kernel: it loads the capture
//! kernel as `kdump load` would, and makes the kernel panic.
//!
//! `kdump rehearse` makes the initramfs for it. What happens afterwards, in the capture kernel, is
//! no rehearsal's business any more: that is the real capture image.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::system::{RebootCommand, reboot};

use crate::console::{chain, say};
use crate::mount;

/// The word after `--` on the first kernel's command line that makes `/init` do this.
pub const CRASH: &str = "rehearse-crash";

/// The command that loads the capture kernel: one argument a line, the program first.
pub const LOAD: &str = "/rehearsal/load";

/// What the lines of a rehearsal begin with, after `kdump: `.
pub const PREFIX: &str = "rehearsal: ";

/// Why the kernel did not panic.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {LOAD}")]
    Command(#[source] io::Error),
    #[error("{LOAD} names no program")]
    NoProgram,
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("kexec did not load the capture kernel ({0})")]
    NotLoaded(ExitStatus),
    #[error("cannot make the kernel panic by /proc/sysrq-trigger")]
    Trigger(#[source] io::Error),
}

/// Loads, and panics. Returns only if it could not; then the machine is off, or process 1 ends and
/// the kernel panics for that.
pub fn crash() -> ExitCode {
    for error in &mount::kernel_filesystems() {
        tell(chain(error));
    }
    if let Err(error) = load_and_panic() {
        tell(format_args!("failed: {}", chain(&error)));
    }
    // The console has shown what there is to tell; a refusal leaves nothing else to do.
    let _ = reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}

fn load_and_panic() -> Result<(), Error> {
    let command = fs::read_to_string(LOAD).map_err(Error::Command)?;
    let mut words = command.lines();
    let program = words.next().ok_or(Error::NoProgram)?;
    tell("loading");
    let status = run(Command::new(program).args(words))
        .map_err(|source| Error::Run { program: program.to_owned(), source })?;
    if !status.success() {
        return Err(Error::NotLoaded(status));
    }
    tell("loaded");
    fs::write("/proc/sysrq-trigger", "c").map_err(Error::Trigger)
}

/// Runs `command`, and shows each line that it writes to either stream.
fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let (output, input) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let mut child = command.spawn()?;
    // The pipe ends when the last writer has closed it; the command's own copies are writers too.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(output).lines() {
        tell(format_args!("kexec: {}", line?));
    }
    child.wait()
}

fn tell(message: impl std::fmt::Display) {
    say(format_args!("{PREFIX}{message}"));
}
