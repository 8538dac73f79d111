//! Process 1 of the capture kernel: starts the worker, watches it, and ends in the final action
//! whatever becomes of the worker.
//!
//! It does nothing that can block on a device: no module, no mount of the target. When
//! the worker crashes, is killed for lack of memory, hangs in a driver or runs out of time, the
//! supervisor says so and restarts the machine. Should it fail itself, the kernel panics, and
//! `/proc/sys/kernel/panic` restarts the machine.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::system::{RebootCommand, reboot};

use crate::config::{self, Action, Config};
use crate::console::{chain, say};
use crate::memory::Gauge;
use crate::watchdog::Watchdog;
use crate::{journal, mount, timeline, worker};

/// The argument that makes this program the worker.
pub const WORKER: &str = "save";

/// How long the kernel shows its panic before it restarts.
const PANIC_SECONDS: &str = "10";

/// Half the time after which a CPU is stuck (Documentation/admin-guide/lockup-watchdogs.rst, Linux
/// 6.1). The most that the kernel takes: slow devices and busy hosts are no reason to lose a dump.
const STUCK_SECONDS: &str = "60";

/// How long shutting down the devices may take before the restart is forced.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// How long writing out what a failed worker left may take.
const SYNC: Duration = Duration::from_secs(20);

/// The signal that the kernel sends when memory runs out.
const SIGKILL: i32 = 9;

/// How long a child that ended its output, or was killed, may take to disappear.
const GONE: Duration = Duration::from_secs(10);

/// Runs the capture. Returns only if the kernel refuses the final action; then it panics, because
/// process 1 has ended, and restarts.
pub fn run() -> ExitCode {
    let started = timeline::now();
    let not_mounted = mount::kernel_filesystems();
    say("started");
    for error in &not_mounted {
        // The worker may do without.
        say(chain(error));
    }
    restart_when_stuck();
    let config = read_config();
    let watchdog = Watchdog::tend(config.timeout + GONE + SYNC);
    let gauge = Gauge::start();
    let action = match supervise(&config, started) {
        Ok(Outcome::Saved) => config.action,
        // It may have failed at unmounting the target.
        Ok(Outcome::Failed) => {
            bring_to_disk(None);
            config.on_failure.action.unwrap_or(config.action)
        }
        Err(error) => {
            let line = format!("failed: {}", chain(&error));
            say(&line);
            bring_to_disk(Some(line));
            config.on_failure.action.unwrap_or(config.action)
        }
    };
    if let Some(gauge) = gauge {
        say(gauge.usage());
    }
    finish(action, watchdog)
}

/// A kernel that panics restarts, and a CPU that is stuck in the kernel is a panic: with one CPU
/// nothing else would ever run again. Best effort: the capture itself needs none of it.
fn restart_when_stuck() {
    const PANIC: &str = "/proc/sys/kernel/panic";
    if fs::read_to_string(PANIC).is_ok_and(|seconds| seconds.trim() == "0") {
        let _ = fs::write(PANIC, PANIC_SECONDS);
    }
    let _ = fs::write("/proc/sys/kernel/watchdog_thresh", STUCK_SECONDS);
    let _ = fs::write("/proc/sys/kernel/softlockup_panic", "1");
}

/// The configuration of the image, with what the kernel command line overrides. Both processes
/// read it; only the supervisor reports what is wrong with it.
fn read_config() -> Config {
    let (config, problems) = load_config();
    for problem in problems {
        say(format_args!("ignored: {problem}"));
    }
    config
}

/// The configuration and what could not be taken from it.
pub(crate) fn load_config() -> (Config, Vec<config::Error>) {
    // A missing file is an empty one: everything may be on the command line.
    let text = fs::read_to_string(config::PATH).unwrap_or_default();
    let (mut config, mut problems) = Config::read(&text);
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    problems.extend(config.override_by(&command_line));
    (config, problems)
}

/// How a worker ended that could say so itself.
enum Outcome {
    /// All is saved, and written out.
    Saved,
    /// It has said why not.
    Failed,
}

/// What ended the worker before it was done.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start the worker process")]
    Start(#[source] io::Error),
    #[error("no progress for {0} seconds; the worker was stopped")]
    Stalled(u64),
    #[error("not done after {0} seconds; the worker was stopped")]
    Timeout(u64),
    #[error(
        "the worker was killed, most likely because the capture kernel ran out of memory: \
         reserve more with crashkernel="
    )]
    Killed,
    #[error("the worker ended without result: {0}")]
    Ended(ExitStatus),
    #[error("the worker does not end")]
    Lingers,
}

fn supervise(config: &Config, started: Duration) -> Result<Outcome, Error> {
    let mut worker = Command::new("/proc/self/exe")
        .args([WORKER, &started.as_millis().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::Start)?;
    // When memory runs out the worker goes first. Best effort: process 1 is spared anyway.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", worker.id()), "1000");
    let lines = lines_of(&mut worker);
    // Waiting for the target is silent and has its own bound.
    let silence = config.stall.max(config.wait + Duration::from_secs(10));
    let watched = relay(&lines, config.timeout, silence);
    if watched.is_err() {
        // It may be stuck in the kernel, where no signal reaches it.
        let _ = worker.kill();
    }
    let ended = wait(&mut worker, Instant::now() + GONE);
    watched?;
    match ended {
        Some(status) if status.success() => Ok(Outcome::Saved),
        Some(status) if status.code() == Some(worker::FAILED.into()) => Ok(Outcome::Failed),
        Some(status) if status.signal() == Some(SIGKILL) => Err(Error::Killed),
        Some(status) => Err(Error::Ended(status)),
        None => Err(Error::Lingers),
    }
}

/// The worker's lines, from a thread so that waiting for one can be bounded.
fn lines_of(worker: &mut Child) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = worker.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

/// Shows the worker's lines until it ends, at most for `timeout`. Each line is a sign of life; the
/// worker is given up when there is none for `silence`.
fn relay(lines: &Receiver<String>, timeout: Duration, silence: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + timeout;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(remaining.min(silence)) {
            Ok(line) => say(line),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                return Err(Error::Timeout(timeout.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => return Err(Error::Stalled(silence.as_secs())),
        }
    }
}

/// Waits for a child until `deadline`; `None` if it is still there then.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Waits for a child. One that is not done in time is killed, and left where it is if it is stuck in
/// the kernel, where no signal reaches it.
pub(crate) fn wait_or_kill(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let ended = wait(child, Instant::now() + time);
    if ended.is_none() {
        // It fails if the child has just ended.
        let _ = child.kill();
        wait(child, Instant::now() + GONE);
    }
    ended
}

/// Brings to the disk what the worker left, with the last `line` of its journal, as far as that can
/// be done in bounded time: a part of a dump is better than none.
fn bring_to_disk(line: Option<String>) {
    let (done, synced) = mpsc::channel::<()>();
    thread::spawn(move || {
        // It fails where the worker had no target yet; the console has the line.
        let _ = line.map(journal::add_after_worker);
        rustix::fs::sync();
        drop(done);
    });
    // Disconnected is the good end; there is nothing to do about a disk that does not answer.
    let _ = synced.recv_timeout(SYNC);
}

/// Ends the capture kernel.
fn finish(action: Action, watchdog: Watchdog) -> ExitCode {
    if matches!(action, Action::Halt | Action::Shell) {
        watchdog.disarm();
    }
    if action == Action::Shell {
        shell();
    }
    let (line, command, forced) = match action {
        Action::Reboot | Action::Shell => ("rebooting", RebootCommand::Restart, Some("b")),
        Action::PowerOff => ("powering off", RebootCommand::PowerOff, Some("o")),
        Action::Halt => ("halting", RebootCommand::Halt, None),
    };
    say(line);
    if let Some(key) = forced {
        // A driver that hangs in its shutdown must not keep the machine down.
        thread::spawn(move || {
            thread::sleep(SHUTDOWN);
            say("devices do not shut down; forcing it");
            let _ = fs::write("/proc/sysrq-trigger", key);
        });
    }
    if let Err(errno) = reboot(command) {
        say(format_args!("failed: {line}: {}", io::Error::from(errno)));
    }
    ExitCode::FAILURE
}

/// Runs the image's shell on the console until it ends.
fn shell() {
    say(format_args!("starting {}; the machine restarts when it ends", config::SHELL));
    if let Err(error) = Command::new(config::SHELL).status() {
        say(format_args!("cannot start {}: {error}", config::SHELL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    /// Relays the lines of a worker that speaks every 10 ms, `lines` times, and then hangs.
    fn relay_of_talker(lines: u32, timeout: Duration, silence: Duration) -> Result<(), Error> {
        let (sender, receiver) = mpsc::channel();
        let (hung, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..lines {
                    let _ = sender.send(number.to_string());
                    thread::sleep(Duration::from_millis(10));
                }
                let _ = end.recv();
            });
            let result = relay(&receiver, timeout, silence);
            drop(hung);
            result
        })
    }

    #[test]
    fn a_silent_worker_is_given_up() {
        let silent = relay_of_talker(3, LONG, SHORT);
        assert!(matches!(silent, Err(Error::Stalled(_))));
    }

    #[test]
    fn a_worker_that_never_ends_is_given_up() {
        let endless = relay_of_talker(30, SHORT, LONG);
        assert!(matches!(endless, Err(Error::Timeout(_))));
    }

    #[test]
    fn a_worker_that_ends_is_waited_for() {
        let (sender, receiver) = mpsc::channel();
        sender.send("line".to_owned()).unwrap();
        drop(sender);
        assert!(relay(&receiver, LONG, LONG).is_ok());

        let mut ends = Command::new("true").spawn().unwrap();
        let status = wait(&mut ends, Instant::now() + Duration::from_secs(30));
        assert!(status.unwrap().success());
        let mut lingers = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(wait(&mut lingers, Instant::now()).is_none());
        lingers.kill().unwrap();
        lingers.wait().unwrap();
    }
}
