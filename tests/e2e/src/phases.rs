//! How long each step of a crash took, read from what the machine printed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::qemu::serial::Line;

/// A line of the serial port with its time.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Since the machine was started.
    pub at: Duration,
    /// Guest instructions executed before the line, where they were counted.
    pub instructions: Option<u64>,
    /// The line.
    pub text: String,
}

/// One step.
///
/// `load` is what the command took. `panic` is zero by definition, and every later
/// phase counts from the first byte of the panic message (of the line that announces `kexec -e`, in
/// a reboot) to the first byte of its own line.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Which step.
    pub name: &'static str,
    /// Host time.
    pub seconds: f64,
    /// Guest instructions; absent where the run did not count them.
    pub instructions: Option<u64>,
}

/// The lines that end the phases after the panic, in their order. Of several texts the first one
/// that comes at all counts: the peer's purgatory has its own words, and so have kernels.
const MARKS: [(&str, &[&str]); 7] = [
    ("purgatory entered", &["purgatory: entered", "I'm in purgatory"]),
    ("verified", &["purgatory: verified"]),
    ("handoff", &["purgatory: handoff"]),
    // On x86 not the banner: with a decompressor that prints, its line starts before it ends.
    ("first kernel line", &["Command line: ", "Linux version "]),
    ("capture /init", &["kdump: started", "e2e: started"]),
    ("dump renamed", &["kdump: saved "]),
    ("reboot", &["kdump: rebooting", "kdump: powering off"]),
];

/// The line that a kernel panic begins with.
pub const PANIC: &str = "Kernel panic - not syncing";

/// The phases of a crash that the lines tell of. A mark that never came has no phase.
pub fn crash(stamps: &[Stamp]) -> Vec<Phase> {
    let mut phases: Vec<Phase> = command(stamps, "load").into_iter().collect();
    let Some(panic) = stamps.iter().position(|stamp| stamp.text.contains(PANIC)) else {
        return phases;
    };
    phases.push(between("panic", &stamps[panic], &stamps[panic]));
    phases.extend(since(stamps, panic));
    phases
}

/// The phases after line number `start`, counted from it.
pub fn since(stamps: &[Stamp], start: usize) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut rest = &stamps[start..];
    for (name, texts) in MARKS {
        let line_with = |text: &&str| rest.iter().position(|stamp| stamp.text.contains(*text));
        if let Some(found) = texts.iter().find_map(line_with) {
            phases.push(between(name, &stamps[start], &rest[found]));
            rest = &rest[found..];
        }
    }
    phases
}

/// What the guest program's command `name` took.
pub fn command(stamps: &[Stamp], name: &'static str) -> Option<Phase> {
    let (begin, end) = (format!("e2e: run {name}"), format!("e2e: ran {name} "));
    let begin = stamps.iter().find(|stamp| stamp.text.contains(&begin))?;
    let end = stamps.iter().find(|stamp| stamp.text.contains(&end))?;
    Some(between(name, begin, end))
}

/// From one line to another.
pub fn between(name: &'static str, from: &Stamp, to: &Stamp) -> Phase {
    let instructions = to.instructions.zip(from.instructions).map(|(to, from)| to - from);
    Phase { name, seconds: to.at.saturating_sub(from.at).as_secs_f64(), instructions }
}

/// Stamps with the host's time only.
pub fn from_serial(lines: &[Line]) -> Vec<Stamp> {
    let stamp = |line: &Line| Stamp { at: line.at, instructions: None, text: line.text.clone() };
    lines.iter().map(stamp).collect()
}

/// Stamps from the plugin's file: `INSTRUCTIONS NANOSECONDS TEXT` in each line.
pub fn from_trace(file: &Path) -> io::Result<Vec<Stamp>> {
    Ok(fs::read_to_string(file)?.lines().filter_map(stamp).collect())
}

fn stamp(line: &str) -> Option<Stamp> {
    let mut words = line.splitn(3, ' ');
    let instructions = words.next()?.parse().ok()?;
    let at = Duration::from_nanos(words.next()?.parse().ok()?);
    Some(Stamp { at, instructions: Some(instructions), text: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(lines: &str) -> Vec<Stamp> {
        lines.lines().filter_map(stamp).collect()
    }

    #[test]
    fn a_crash_is_measured_from_its_panic() {
        let phases = crash(&stamps(
            "5 1000 [    0.0] Command line: first kernel\n\
             10 2000 e2e: run load\n\
             70 3000 e2e: ran load exit=0\n\
             100 4000000000 [    1.0] Kernel panic - not syncing: sysrq triggered crash\n\
             150 5000000000 purgatory: entered\n\
             900 6500000000 [    0.0] Command line: second kernel\n",
        ));
        let seen: Vec<_> = phases.iter().map(|p| (p.name, p.instructions)).collect();
        assert_eq!(
            seen,
            [
                ("load", Some(60)),
                ("panic", Some(0)),
                ("purgatory entered", Some(50)),
                ("first kernel line", Some(800)),
            ]
        );
        assert!((phases[3].seconds - 2.5).abs() < 1e-9);
    }

    #[test]
    fn no_panic_no_crash_phases() {
        assert!(crash(&stamps("1 1 hello\n2 2 purgatory: entered\n")).is_empty());
    }
}
