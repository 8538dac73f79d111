//! What came of a rehearsal, for people and as JSON.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Request;
use super::boot::Boot;
use super::machine::Accelerator;
use super::stage::Stage;
use super::story::{self, Step};

/// The report; sizes are in the units that their names end in.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether a dump was saved and the machine came to its end.
    pub works: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The releases that the first and the capture kernel named.
    pub releases: Vec<String>,
    /// The capture image.
    pub image: PathBuf,
    /// Its size.
    pub image_bytes: u64,
    /// The target as configured.
    pub target: String,
    /// What drove the scratch disk.
    pub controller: &'static str,
    /// QEMU's version.
    pub qemu: String,
    /// What ran the instructions.
    pub accelerator: Accelerator,
    /// How many CPUs the machine had.
    pub smp: usize,
    /// What was reserved.
    pub crashkernel_mib: u64,
    /// The most memory that the capture kernel used of `capture_memory_bytes`.
    pub peak_memory_bytes: Option<u64>,
    /// What the capture kernel had to give, without its own code and tables.
    pub capture_memory_bytes: Option<u64>,
    /// When each step was reached, since the machine was started.
    pub steps: Vec<Step>,
    /// Where the dump was and how large.
    pub dump: Option<String>,
    /// The smallest `crashkernel=` that was seen to work, in MiB.
    #[serde(rename = "smallest_crashkernel_mib")]
    pub smallest_crashkernel: Option<u64>,
    /// The other sizes that were tried.
    pub trials: Vec<Trial>,
    /// What was not as on the real machine.
    pub not_rehearsed: Vec<String>,
    /// Where the logs are, if they were kept.
    pub logs: Option<PathBuf>,
}

/// A boot with another `crashkernel=`.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What was reserved.
    pub crashkernel_mib: u64,
    /// Whether a dump was saved.
    pub works: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Trial {
    /// Of `boot` with `crashkernel` MiB.
    pub fn new(crashkernel: u64, boot: &Boot) -> Self {
        let works = boot.worked();
        Self {
            crashkernel_mib: crashkernel,
            works,
            reason: (!works).then(|| boot.reason()),
            seconds: boot.took.as_secs_f64(),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}M  ", self.crashkernel_mib)?;
        match &self.reason {
            None => write!(f, "works ({:.1} s)", self.seconds),
            Some(reason) => write!(f, "does not ({:.1} s): {reason}", self.seconds),
        }
    }
}

impl Report {
    /// Of `boot`; nothing was searched for yet.
    pub fn new(request: &Request, stage: &Stage, boot: &Boot) -> Self {
        let works = boot.worked();
        let mut not_rehearsed = stage.differences.clone();
        not_rehearsed.push("this machine's firmware, devices and amount of memory".into());
        if stage.accelerator == Accelerator::Tcg {
            not_rehearsed.push("its speed: an emulated CPU takes many times as long".into());
        }
        Self {
            works,
            reason: (!works).then(|| boot.reason()),
            kernel: request.kernel.clone(),
            releases: boot.story.kernels.clone(),
            image: request.image.clone(),
            image_bytes: stage.image_size,
            target: stage.target.to_string(),
            controller: stage.controller.driver,
            qemu: stage.qemu.clone(),
            accelerator: stage.accelerator,
            smp: request.smp,
            crashkernel_mib: request.crashkernel,
            peak_memory_bytes: boot.story.memory.map(|memory| memory.peak),
            capture_memory_bytes: boot.story.memory.map(|memory| memory.total),
            steps: boot.story.steps.clone(),
            dump: boot.story.saved.clone(),
            smallest_crashkernel: None,
            trials: Vec::new(),
            not_rehearsed,
            logs: None,
        }
    }

    fn fact(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(f, "  {name:<14}{value}")
    }

    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let panic = self.steps.iter().position(|step| step.name == story::PANIC);
        let Some(panic) = panic else { return Ok(()) };
        writeln!(f, "\n  {:<26}{:>10}", "step", "after panic")?;
        for step in &self.steps[panic..] {
            let after = step.at.saturating_sub(self.steps[panic].at).as_secs_f64();
            writeln!(f, "  {:<26}{after:>9.1} s", step.name)?;
        }
        Ok(())
    }
}

/// The table that an operator reads.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        match &self.reason {
            None => writeln!(f, "A crash would be saved.\n")?,
            Some(reason) => writeln!(f, "A crash would NOT be saved: {reason}\n")?,
        }
        let releases = self.releases.join(", then ");
        Self::fact(f, "kernel", format_args!("{} ({releases})", self.kernel.display()))?;
        Self::fact(
            f,
            "image",
            format_args!("{}, {}", self.image.display(), mib(self.image_bytes)),
        )?;
        Self::fact(
            f,
            "machine",
            format_args!("{}, {}, {} CPU(s)", self.qemu, self.accelerator.name(), self.smp),
        )?;
        Self::fact(f, "target", format_args!("{} on {}", self.target, self.controller))?;
        Self::fact(f, "crashkernel=", format_args!("{}M", self.crashkernel_mib))?;
        if let (Some(peak), Some(total)) = (self.peak_memory_bytes, self.capture_memory_bytes) {
            let used = format_args!("{} of the {} that the kernel leaves", mib(peak), mib(total));
            Self::fact(f, "peak memory", used)?;
        }
        if let Some(smallest) = self.smallest_crashkernel {
            let boots = self.trials.len();
            let found = format_args!("crashkernel={smallest}M ({boots} more boots)");
            Self::fact(f, "smallest", found)?;
        } else if !self.trials.is_empty() {
            Self::fact(f, "smallest", "none of those that were tried works")?;
        }
        if let Some(dump) = &self.dump {
            Self::fact(f, "dump", dump)?;
        }
        self.steps(f)?;
        writeln!(f, "\n  not rehearsed:")?;
        for difference in &self.not_rehearsed {
            writeln!(f, "  - {difference}")?;
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "\n  logs: {}", logs.display())?;
        }
        Ok(())
    }
}
