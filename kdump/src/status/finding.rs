//! What can be wrong, and what to do about it.

use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// There would be no dump, or not the one that the settings want.
    Problem,
    /// There would be one all the same.
    Warning,
}

/// One thing that is wrong. In JSON its name is `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// The running kernel cannot load a capture kernel.
    NoKexec,
    /// No memory is reserved for one.
    NotReserved,
    /// None is loaded.
    NotLoaded,
    /// One is loaded, by something else than `kdump load`.
    NotRecorded,
    /// The settings cannot be read.
    Settings {
        /// Why.
        reason: String,
    },
    /// What should be loaded cannot be made, or not any more.
    CannotPrepare {
        /// Why.
        reason: String,
    },
    /// What is loaded is not what should be.
    Stale {
        /// What has changed.
        differences: Vec<String>,
    },
    /// Memory or CPUs came or went, and the core headers do not know.
    HardwareChanged,
    /// Less is reserved than the capture kernel is estimated to need.
    TooSmall {
        /// Bytes.
        reserved: u64,
        /// Bytes.
        needed: u64,
    },
    /// A target's device is not there.
    TargetMissing {
        /// As in the settings.
        target: String,
    },
    /// A target's device has another file system, or none.
    OtherFilesystem {
        /// As in the settings.
        target: String,
        /// What is there.
        found: String,
    },
    /// A target has too little space.
    NoSpace {
        /// As in the settings.
        target: String,
        /// Free bytes.
        free: u64,
        /// Bytes that a dump would take now.
        needed: u64,
    },
    /// None of the targets can be used.
    NoTarget,
}

impl Finding {
    /// How much it matters. A fault of one target is a warning: [`NoTarget`](Self::NoTarget) says
    /// that there is no other.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoKexec
            | Self::NotReserved
            | Self::NotLoaded
            | Self::NotRecorded
            | Self::Settings { .. }
            | Self::CannotPrepare { .. }
            | Self::Stale { .. }
            | Self::HardwareChanged
            | Self::NoTarget => Severity::Problem,
            Self::TooSmall { .. }
            | Self::TargetMissing { .. }
            | Self::OtherFilesystem { .. }
            | Self::NoSpace { .. } => Severity::Warning,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKexec => f.write_str("this kernel has no kexec (CONFIG_KEXEC, CONFIG_CRASH_DUMP)"),
            Self::NotReserved => f.write_str(
                "no memory is reserved: add crashkernel= to the kernel's command line (on Debian \
                 GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub) and reboot; \
                 kdump estimate says how much",
            ),
            Self::NotLoaded => f.write_str(
                "nothing is loaded: run kdump load; systemctl enable kdump.service does so at \
                 every boot",
            ),
            Self::NotRecorded => f.write_str(
                "something is loaded, but not by kdump load, so nothing is known of it: run kdump load",
            ),
            Self::Settings { reason } => f.write_str(reason),
            Self::CannotPrepare { reason } => {
                write!(f, "kdump load would fail: {reason}")
            }
            Self::Stale { differences } => {
                write!(f, "what is loaded is stale: {}: run kdump load", differences.join("; "))
            }
            Self::HardwareChanged => {
                f.write_str("memory or CPUs have come or gone since the load: run kdump load")
            }
            Self::TooSmall { reserved, needed } => write!(
                f,
                "{} MiB are reserved, the capture kernel is estimated to need {}: see kdump estimate",
                reserved >> 20,
                needed.div_ceil(1 << 20)
            ),
            Self::TargetMissing { target } => {
                write!(f, "{target} is not there: attach it, or correct /etc/kdump.toml")
            }
            Self::OtherFilesystem { target, found } => {
                write!(f, "{target} has another file system: {found}")
            }
            Self::NoSpace { target, free, needed } => write!(
                f,
                "{target} has {} MiB free, a dump would take about {} now: make room",
                free >> 20,
                needed.div_ceil(1 << 20)
            ),
            Self::NoTarget => f.write_str("no target can be used: there would be no dump"),
        }
    }
}
