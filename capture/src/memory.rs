//! How much memory the capture takes at most: what `crashkernel=` has to reserve, measured.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often the kernel is asked: a capture lasts seconds, and an answer costs microseconds.
const INTERVAL: Duration = Duration::from_millis(50);

/// What the kernel said (Documentation/filesystems/proc.rst, meminfo), in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that was in use and could not have been given to somebody else.
    pub peak: u64,
    /// All that the kernel has to give: the reserved memory without the kernel's own code and page
    /// descriptors.
    pub total: u64,
}

/// As the console shows it, and `kdump rehearse` reads it.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory: {} of {} KiB in use at most", self.peak, self.total)
    }
}

/// Watches the memory from a thread of its own.
#[derive(Debug)]
pub struct Gauge {
    least_available: Arc<AtomicU64>,
    total: u64,
}

impl Gauge {
    /// Starts to watch; `None` where the kernel does not tell.
    pub fn start() -> Option<Self> {
        let (total, available) = sample()?;
        let least_available = Arc::new(AtomicU64::new(available));
        let least = Arc::clone(&least_available);
        thread::spawn(move || {
            while let Some((_, available)) = sample() {
                least.fetch_min(available, Ordering::Relaxed);
                thread::sleep(INTERVAL);
            }
        });
        Some(Self { least_available, total })
    }

    /// What was seen so far.
    pub fn usage(&self) -> Usage {
        let available = self.least_available.load(Ordering::Relaxed);
        Usage { peak: self.total.saturating_sub(available), total: self.total }
    }
}

/// `MemTotal` and `MemAvailable` in KiB.
fn sample() -> Option<(u64, u64)> {
    parse(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_are_needed() {
        let text = "MemTotal:         171340 kB\nMemFree:   1 kB\nMemAvailable:     120000 kB\n";
        assert_eq!(parse(text), Some((171_340, 120_000)));
        assert_eq!(parse("MemTotal: 171340 kB\n"), None);
    }

    #[test]
    fn what_is_taken_is_seen() {
        let gauge = Gauge::start().unwrap();
        let before = gauge.usage();
        assert!(before.peak > 0 && before.peak < before.total);
        let hoard = vec![1_u8; 64 << 20];
        thread::sleep(INTERVAL * 4);
        assert!(gauge.usage().peak >= before.peak && hoard[1 << 20] == 1);
    }
}
