//! What becomes of a fault of purgatory's own: an exception, or a panic.

use core::ops::DerefMut;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::console::Console;
use crate::params::OnMismatch;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Reset the machine.
    Reset,
    /// Stop.
    Halt,
    /// The reset faults too: the last means that there is.
    GiveUp,
}

/// The policy, and the faults so far.
pub struct Faults {
    /// [`OnMismatch`]
    policy: AtomicU32,
    count: AtomicU32,
}

impl Faults {
    /// No fault yet. Until a policy is set it is a reset.
    pub const fn none() -> Self {
        Self { policy: AtomicU32::new(OnMismatch::Reset as u32), count: AtomicU32::new(0) }
    }

    /// What a fault leads to. Ignoring damage may work; ignoring that one's own code faulted
    /// cannot, so that it means a reset.
    pub fn set_policy(&self, policy: OnMismatch) {
        self.policy.store(policy as u32, Ordering::Relaxed);
    }

    /// Reports on `console`, and says how it ends. Without a console it is the console that faulted.
    pub fn end<C: Console>(
        &self,
        console: Option<impl DerefMut<Target = C>>,
        report: impl FnOnce(&mut C),
    ) -> End {
        match self.count.fetch_add(1, Ordering::Relaxed) {
            0 => (),
            // The report faulted. To halt would show nobody why.
            1 => return End::Reset,
            _ => return End::GiveUp,
        }
        let halt = OnMismatch::from_raw(self.policy.load(Ordering::Relaxed)) == OnMismatch::Halt;
        if let Some(mut console) = console {
            report(&mut console);
            console.put_str(if halt { "; halting" } else { "; resetting" });
            console.end_line();
        }
        if halt { End::Halt } else { End::Reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(String);

    impl Console for Text {
        fn put_byte(&mut self, byte: u8) {
            self.0.push(byte.into());
        }
    }

    fn first_fault(faults: &Faults) -> (End, String) {
        let mut text = Text(String::new());
        let end = faults.end(Some(&mut text), |console| console.put_str("fault"));
        (end, text.0)
    }

    #[test]
    fn a_fault_is_reported_and_only_the_policy_halt_halts() {
        let unset = Faults::none();
        assert_eq!(first_fault(&unset), (End::Reset, "fault; resetting\r\n".into()));
        for (policy, end, text) in [
            (OnMismatch::Reset, End::Reset, "fault; resetting\r\n"),
            (OnMismatch::Ignore, End::Reset, "fault; resetting\r\n"),
            (OnMismatch::Halt, End::Halt, "fault; halting\r\n"),
        ] {
            let faults = Faults::none();
            faults.set_policy(policy);
            assert_eq!(first_fault(&faults), (end, text.into()));
        }
    }

    #[test]
    fn a_fault_in_the_report_resets_and_one_in_the_reset_gives_up() {
        let faults = Faults::none();
        faults.set_policy(OnMismatch::Halt);
        let mut text = Text(String::new());
        faults.end(Some(&mut text), |_| {
            assert_eq!(first_fault(&faults), (End::Reset, String::new()));
            assert_eq!(first_fault(&faults), (End::GiveUp, String::new()));
        });
    }

    #[test]
    fn without_a_console_nothing_is_reported() {
        let faults = Faults::none();
        assert_eq!(faults.end(None::<&mut Text>, |_| unreachable!()), End::Reset);
    }
}
