//! A system call that the running kernel refused, with the reason that its state suggests.

use purgatorio::{
    plan::Target,
    sys::{
        Call, SysError,
        refusal::{self, Explanation, Situation},
    },
};
use rustix::io::Errno;

/// The kernel said no.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", cause(explanation.as_ref()))]
pub struct Refused {
    /// What the call returned. Shown with the message: it is no further cause.
    error: SysError,
    /// The state of the machine.
    situation: Situation,
    /// Why, and what to do.
    explanation: Option<Explanation>,
}

impl Refused {
    /// Explains `error` of a call for `target` by the state of the machine before the call, which
    /// may count it (kernel.kexec_load_limit_*) though it refuses.
    pub fn new(error: SysError, target: Target, situation: Situation) -> Self {
        let explanation = match &error {
            SysError::Refused { call, errno } => {
                Some(refusal::explain(*call, target, *errno, &situation))
            }
            SysError::TooManySegments { .. } | SysError::TooWide { .. } => None,
        };
        Self { error, situation, explanation }
    }

    /// What the call returned, and in which state of the machine.
    pub fn parts(&self) -> (&SysError, &Situation) {
        (&self.error, &self.situation)
    }

    /// Whether the running kernel is built without kexec_file_load.
    pub fn is_file_load_missing(&self) -> bool {
        self.error == SysError::Refused { call: Call::KexecFileLoad, errno: Errno::NOSYS }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        self.explanation.map(|explanation| explanation.remedy.to_owned())
    }
}

fn cause(explanation: Option<&Explanation>) -> String {
    explanation.map_or_else(String::new, |explanation| format!(": {}", explanation.cause))
}
