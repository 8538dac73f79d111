//! How a capture ends.

use std::fmt;
use std::str::FromStr;

/// What is done when there is nothing more to save.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Restart the machine.
    #[default]
    Reboot,
    /// Switch the machine off.
    PowerOff,
    /// Stop and keep the console readable.
    Halt,
    /// Start the shell of the image, and restart the machine when it ends.
    Shell,
}

impl FromStr for Action {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reboot" => Ok(Self::Reboot),
            "poweroff" => Ok(Self::PowerOff),
            "halt" => Ok(Self::Halt),
            "shell" => Ok(Self::Shell),
            _ => Err("reboot, poweroff, halt or shell"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
            Self::Halt => "halt",
            Self::Shell => "shell",
        })
    }
}

/// What is done when a dump could not be saved: `next-target`, an [`Action`], or
/// `next-target,ACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailure {
    /// Whether the next target is tried; otherwise the first failure is the end.
    pub next_target: bool,
    /// The end when nothing is left to try; `None` stands for the one of a saved dump.
    pub action: Option<Action>,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self { next_target: true, action: None }
    }
}

const NEXT_TARGET: &str = "next-target";

impl FromStr for OnFailure {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "next-target, reboot, poweroff, halt, shell, or next-target,ACTION";
        let action = |text: &str| text.parse().map(Some).map_err(|_| expected);
        match text.split_once(',') {
            Some((NEXT_TARGET, rest)) => Ok(Self { next_target: true, action: action(rest)? }),
            Some(_) => Err(expected),
            None if text == NEXT_TARGET => Ok(Self::default()),
            None => Ok(Self { next_target: false, action: action(text)? }),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.next_target, self.action) {
            (_, None) => f.write_str(NEXT_TARGET),
            (true, Some(action)) => write!(f, "{NEXT_TARGET},{action}"),
            (false, Some(action)) => action.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_an_action_of_its_own() {
        let next = |action| OnFailure { next_target: true, action };
        for (text, expected) in [
            ("next-target", next(None)),
            ("next-target,halt", next(Some(Action::Halt))),
            ("shell", OnFailure { next_target: false, action: Some(Action::Shell) }),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        for bad in ["", "next", "halt,next-target", "next-target,", "next-target,next-target"] {
            assert!(bad.parse::<OnFailure>().is_err(), "{bad:?}");
        }
    }
}
