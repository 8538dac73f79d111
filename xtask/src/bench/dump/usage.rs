//! What a program takes: time, CPU time, memory.

use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process;
use wait4::Wait4;

use super::Error;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// Of all its threads, in the program and in the kernel for it.
    pub cpu: Duration,
    /// The most memory that was resident, in bytes. It is never less than what this process had
    /// when it started the program: Linux counts that in (exec_mmap in fs/exec.c, 6.1).
    pub peak_bytes: u64,
}

/// Runs `command` to its end.
pub fn of(command: &mut Command) -> Result<Usage, Error> {
    let show = process::show(command);
    let failed = |source| process::Error::Start { command: show.clone(), source };
    // A pipe would have to be emptied while the program runs.
    let mut messages = tempfile::tempfile().map_err(failed)?;
    let errors = messages.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let begin = Instant::now();
    let ended = command.spawn().and_then(|mut child| child.wait4()).map_err(failed)?;
    let wall = begin.elapsed();
    if ended.status.success() {
        let usage = ended.rusage;
        return Ok(Usage { wall, cpu: usage.utime + usage.stime, peak_bytes: usage.maxrss });
    }
    let mut output = String::new();
    messages.rewind().and_then(|()| messages.read_to_string(&mut output)).map_err(failed)?;
    Err(process::Error::Failed { command: show, status: ended.status, output }.into())
}

/// The middle one of `values`; of an even number the upper of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_works_takes_time_and_memory() {
        let work = "x=$(head -c 20000000 /dev/zero | tr '\\0' a); exit 0";
        let usage = of(Command::new("sh").args(["-c", work])).expect("the shell runs");
        assert!(usage.cpu > Duration::ZERO && usage.wall > Duration::ZERO, "{usage:?}");
        assert!(usage.peak_bytes > 20_000_000, "{usage:?}");
    }

    #[test]
    fn sleeping_takes_no_cpu_time() {
        let usage = of(Command::new("sleep").arg("0.2")).expect("sleep runs");
        assert!(usage.wall >= Duration::from_millis(200), "{usage:?}");
        assert!(usage.cpu < Duration::from_millis(100), "{usage:?}");
    }

    #[test]
    fn what_a_failed_program_said_is_told() {
        let error = of(Command::new("sh").args(["-c", "echo no room >&2; exit 3"]));
        let message = error.expect_err("it failed").to_string();
        assert!(message.contains("no room"), "{message}");
    }

    #[test]
    fn the_median_is_not_moved_by_one_slow_turn() {
        assert_eq!(median(vec![3.0, 1.0, 900.0]), 3.0);
        assert_eq!(median(vec![7.0]), 7.0);
    }
}
