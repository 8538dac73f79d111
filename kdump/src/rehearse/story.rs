//! The story that the machine's console tells, from the first kernel to the end of the capture.

use std::time::Duration;

use capture::rehearsal;
use serde::Serialize;

/// A step that was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Which.
    pub name: &'static str,
    /// When, since the machine was started.
    #[serde(serialize_with = "seconds", rename = "seconds")]
    pub at: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// The panic's step, from which the times of the later ones count.
pub const PANIC: &str = "panic";

/// The steps in their order, each with a text of the line that it begins with. One that is passed
/// over (a quiet kernel prints no banner) has no time.
const STEPS: [(&str, &str); 11] = [
    ("first kernel", "Linux version "),
    ("loading", "kdump: rehearsal: loading"),
    ("capture kernel loaded", "kdump: rehearsal: loaded"),
    (PANIC, KERNEL_PANIC),
    ("purgatory entered", "purgatory: entered"),
    ("capture kernel verified", "purgatory: verified"),
    ("capture kernel", "Linux version "),
    ("capture program", "kdump: started"),
    ("saving", "kdump: saving to "),
    ("dump saved and checked", SAVED),
    ("end of the capture", ENDS[0]),
];

const KERNEL_PANIC: &str = "Kernel panic - not syncing";
const SAVED: &str = "kdump: saved ";
const FAILED: &str = "kdump: failed: ";
const MEMORY: &str = "kdump: memory: ";
const PURGATORY: &str = "purgatory: ";
const OUT_OF_MEMORY: &str = "Out of memory: Killed process";
/// The capture program's last line.
const ENDS: [&str; 4] =
    ["kdump: rebooting", "kdump: powering off", "kdump: halting", "kdump: starting a shell"];

/// What the capture program says of its memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The most that was in use at a time.
    pub peak: u64,
    /// What the capture kernel has to give.
    pub total: u64,
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Story {
    /// The steps that were reached.
    pub steps: Vec<Step>,
    /// The words behind `saved`: where the dump is, and its size.
    pub saved: Option<String>,
    /// What the capture used.
    pub memory: Option<Memory>,
    /// The release of each kernel that said so.
    pub kernels: Vec<String>,
    /// Why it cannot go well, in the machine's words: the first reason first.
    troubles: Vec<String>,
    /// What kexec printed.
    kexec: Vec<String>,
    /// Whether a kernel panicked that should not have.
    lost: bool,
    /// How many of [`STEPS`] are behind.
    passed: usize,
}

impl Story {
    /// Takes the next line of the console; true if it begins a step.
    pub fn take(&mut self, at: Duration, line: &str) -> bool {
        self.take_facts(line);
        self.take_troubles(line);
        let begins =
            |(_, text): &(&str, &str)| line.contains(text) || (*text == ENDS[0] && is_end(line));
        let Some(next) = STEPS[self.passed..].iter().position(begins) else { return false };
        let next = self.passed + next;
        // Only the first kernel's panic is a step; before the load, or again, it is trouble.
        if STEPS[next].0 == PANIC && !self.has("capture kernel loaded") {
            return false;
        }
        // A second banner is the capture kernel's, but not before the panic.
        if next > PANIC_INDEX && !self.has(PANIC) {
            return false;
        }
        self.steps.push(Step { name: STEPS[next].0, at });
        self.passed = next + 1;
        true
    }

    /// Whether the capture program said its last word.
    pub fn is_over(&self) -> bool {
        self.passed == STEPS.len()
    }

    /// Whether a kernel panicked that nothing comes after.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// When the step `name` was reached.
    pub fn time_of(&self, name: &str) -> Option<Duration> {
        self.steps.iter().find(|step| step.name == name).map(|step| step.at)
    }

    /// Why no dump was saved, as far as the console tells: `ended` is how the machine ended.
    pub fn reason(&self, ended: &str) -> String {
        let last = self.steps.last().map_or("nothing", |step| step.name);
        let mut reason = match self.troubles.as_slice() {
            [] => format!("{ended}; the last that was seen was: {last}"),
            troubles => troubles.join("; then "),
        };
        if !self.has("capture kernel loaded") && !self.kexec.is_empty() {
            reason = format!("{reason}; kexec said: {}", self.kexec.join(" / "));
        }
        reason
    }

    fn has(&self, name: &str) -> bool {
        self.time_of(name).is_some()
    }

    fn take_facts(&mut self, line: &str) {
        if let Some(words) = after(line, SAVED) {
            self.saved = Some(words.to_owned());
        }
        if let Some(memory) = after(line, MEMORY).and_then(memory) {
            self.memory = Some(memory);
        }
        if let Some(banner) = after(line, "Linux version ") {
            self.kernels.extend(banner.split(' ').next().map(str::to_owned));
        }
        if let Some(words) = after(line, &format!("kdump: {}kexec: ", rehearsal::PREFIX)) {
            self.kexec.push(words.to_owned());
        }
    }

    fn take_troubles(&mut self, line: &str) {
        let expected_panic = self.has("capture kernel loaded") && !self.has(PANIC);
        let trouble = if let Some(words) = after(line, FAILED) {
            Some(words.to_owned())
        } else if let Some(words) = after(line, &format!("kdump: {}failed: ", rehearsal::PREFIX)) {
            Some(words.to_owned())
        } else if let Some(words) = after(line, KERNEL_PANIC).filter(|_| !expected_panic) {
            self.lost = true;
            let which = if self.has(PANIC) { "the capture kernel" } else { "the first kernel" };
            Some(format!("{which} panicked{words}"))
        } else if let Some(words) = after(line, OUT_OF_MEMORY) {
            Some(format!("out of memory: the kernel killed process{words}"))
        } else if line.contains("crashkernel") && line.contains("fail") {
            Some(line.split_once("] ").map_or(line, |(_, words)| words).to_owned())
        } else {
            after(line, PURGATORY)
                .filter(|words| is_refusal(words))
                .map(|words| format!("purgatory refused the capture kernel: {words}"))
        };
        self.troubles.extend(trouble);
    }
}

const PANIC_INDEX: usize = 3;

fn is_end(line: &str) -> bool {
    ENDS.iter().any(|end| line.contains(end))
}

/// Purgatory's lines when all is well; every other one is a complaint.
fn is_refusal(words: &str) -> bool {
    !["entered", "verified", "not verified", "handoff"].iter().any(|good| words.starts_with(good))
}

/// `PEAK of TOTAL KiB …`
fn memory(words: &str) -> Option<Memory> {
    let mut words = words.split(' ');
    let peak: u64 = words.next()?.parse().ok()?;
    (words.next()? == "of").then_some(())?;
    let total: u64 = words.next()?.parse().ok()?;
    (words.next()? == "KiB").then_some(())?;
    Some(Memory { peak: peak.checked_mul(1024)?, total: total.checked_mul(1024)? })
}

fn after<'a>(line: &'a str, text: &str) -> Option<&'a str> {
    line.split_once(text).map(|(_, rest)| rest.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &str) -> Story {
        let mut story = Story::default();
        for (number, line) in lines.lines().enumerate() {
            story.take(Duration::from_secs(number as u64), line.trim());
        }
        story
    }

    const LOADED: &str = "[ 0.0] Linux version 6.1.0-1 (x)
        kdump: rehearsal: loading
        kdump: rehearsal: kexec: some warning
        kdump: rehearsal: loaded
        [ 1.0] Kernel panic - not syncing: sysrq triggered crash
        purgatory: entered
        purgatory: verified 3 segments";

    #[test]
    fn a_capture_that_works_has_every_step() {
        let story = told(&format!(
            "{LOADED}
            [ 0.0] Linux version 6.1.0-2 (y)
            kdump: started
            kdump: saving to LABEL=x /var/crash/1
            kdump: saved /var/crash/1/vmcore (123 bytes)
            kdump: memory: 100 of 200 KiB in use at most
            kdump: powering off"
        ));
        assert!(story.is_over());
        assert_eq!(story.steps.len(), STEPS.len());
        assert_eq!(story.time_of(PANIC), Some(Duration::from_secs(4)));
        assert_eq!(story.saved.as_deref(), Some("/var/crash/1/vmcore (123 bytes)"));
        assert_eq!(story.memory, Some(Memory { peak: 102_400, total: 204_800 }));
        assert_eq!(story.kernels, ["6.1.0-1", "6.1.0-2"]);
        assert!(story.troubles.is_empty());
    }

    #[test]
    fn the_machine_says_why_it_does_not_work() {
        let reason = |lines: &str| told(lines).reason("the machine was reset");
        let dead = format!("{LOADED}\n[ 0.5] Kernel panic - not syncing: System is deadlocked");
        assert_eq!(reason(&dead), "the capture kernel panicked: System is deadlocked");
        assert_eq!(reason(&format!("{LOADED}\nkdump: started\nkdump: failed: no disk")), "no disk");
        assert_eq!(
            reason(LOADED),
            "the machine was reset; the last that was seen was: capture kernel verified"
        );
        assert_eq!(
            reason(
                "[ 0.0] crashkernel reservation failed - No suitable area found.
                kdump: rehearsal: loading
                kdump: rehearsal: kexec: no memory is reserved
                kdump: rehearsal: failed: kexec did not load the capture kernel"
            ),
            "crashkernel reservation failed - No suitable area found.; then kexec did not load \
             the capture kernel; kexec said: no memory is reserved"
        );
        assert_eq!(
            reason("Kernel panic - not syncing: VFS: no root"),
            "the first kernel panicked: VFS: no root"
        );
        assert_eq!(
            reason(&format!("{LOADED}\npurgatory: segment kernel is damaged")),
            "purgatory refused the capture kernel: segment kernel is damaged"
        );
    }
}
