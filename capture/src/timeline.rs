//! When what happened, from the panic to the end.
//!
//! Two clocks are known: the dead kernel's `CRASHTIME`, in whole seconds of calendar time, and the
//! capture kernel's clock, which starts with its timekeeping and is exact. They meet in the calendar
//! time that the capture kernel took from the machine's clock, which has whole seconds as well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The steps of a capture.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// Whole seconds from the panic to the start of the capture kernel's clock, which may be one
    /// off: purgatory and the kernel's first steps. Absent if a clock is missing or makes no sense.
    kernel_after_panic: Option<u64>,
    /// What the capture did; seconds of the capture kernel's clock.
    steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
struct Step {
    /// What was reached.
    step: &'static str,
    /// When, in seconds of the capture kernel's clock.
    seconds: f64,
}

impl Timeline {
    /// A timeline of a kernel that died at `crash_time`.
    pub fn new(crash_time: Option<SystemTime>) -> Self {
        let started = SystemTime::now().checked_sub(now());
        Self { kernel_after_panic: whole_seconds(crash_time, started), steps: Vec::new() }
    }

    /// `step` is reached now.
    pub fn reached(&mut self, step: &'static str) {
        self.reached_at(step, now());
    }

    /// `step` was reached when the capture kernel's clock said `at`.
    pub fn reached_at(&mut self, step: &'static str, at: Duration) {
        let seconds = (at.as_secs_f64() * 1000.0).round() / 1000.0;
        self.steps.push(Step { step, seconds });
    }
}

/// The capture kernel's clock.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// From the panic to the kernel's start. A machine whose clock was lost starts in another year:
/// nothing in a crash takes a day.
fn whole_seconds(crash: Option<SystemTime>, started: Option<SystemTime>) -> Option<u64> {
    const DAY: u64 = 24 * 3600;
    let since_1970 = |time: SystemTime| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs());
    let (crash, started) = (since_1970(crash?)?, since_1970(started?)?);
    // The clock may be read within the second of the crash and round it down.
    let seconds = (started + 1).checked_sub(crash)?.saturating_sub(1);
    (seconds < DAY).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_disagree_by_days_are_not_compared() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(whole_seconds(at(1000), at(1003)), Some(3));
        assert_eq!(whole_seconds(at(1000), at(999)), Some(0));
        assert_eq!(whole_seconds(at(1000), at(998)), None);
        assert_eq!(whole_seconds(at(1000), at(1000 + 24 * 3600)), None);
        assert_eq!(whole_seconds(None, at(1000)), None);
    }

    #[test]
    fn steps_keep_their_order_and_milliseconds() {
        let mut timeline = Timeline::new(None);
        timeline.reached_at("init", Duration::from_micros(1_234_567));
        timeline.reached("now");
        let text = serde_json::to_string(&timeline).unwrap();
        assert!(text.contains(r#"{"step":"init","seconds":1.235},{"step":"now""#), "{text}");
    }
}
