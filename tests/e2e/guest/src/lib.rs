//! The script that the harness hands to the first kernel's `/init`, as both sides see it.
//!
//! It lies at [`SCRIPT`] in the initramfs as JSON. `/init` answers on the serial console with
//! lines that start with [`PREFIX`]; what they say is documented at each [`Step`].
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Where the script lies in the initramfs.
pub const SCRIPT: &str = "/e2e/steps.json";
/// What every line of the guest program starts with.
pub const PREFIX: &str = "e2e: ";

/// What `/init` does, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Script {
    /// The steps. After the last one the machine is powered off.
    pub steps: Vec<Step>,
}

/// One step of a [`Script`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Writes `e2e: nonce TEXT` to the kernel's log, and so to the console.
    Nonce {
        /// Unique to the run.
        text: String,
    },
    /// Fills a page that stays in memory with [`pattern`] and prints
    /// `e2e: pattern 0xADDRESS` (physical).
    Pattern {
        /// Seed of the pattern.
        seed: u64,
    },
    /// Prints each line of a file as `e2e: show PATH LINE`.
    Show {
        /// The file.
        path: String,
    },
    /// Prints the address of a function or variable of the kernel as
    /// `e2e: symbol NAME 0xADDRESS`.
    Symbol {
        /// Its name in /proc/kallsyms.
        name: String,
    },
    /// Makes a file of zeroes.
    MakeFile {
        /// Where.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// Its permission bits.
        mode: u32,
    },
    /// Writes to a file that is there, such as a sysctl.
    Write {
        /// The file.
        path: String,
        /// What to write.
        text: String,
    },
    /// Mounts a file system of the kernel's own.
    Mount {
        /// Its type.
        kind: String,
        /// A folder that is there.
        on: String,
    },
    /// Changes the byte in the middle of each file in a directory.
    Damage {
        /// The directory.
        directory: String,
    },
    /// Inserts a kernel module.
    LoadModule {
        /// The module file.
        path: String,
    },
    /// Runs a program: `e2e: run NAME`, then `e2e: out LINE` for each line of its output (both
    /// streams in one), then `e2e: ran NAME exit=N`.
    Run {
        /// Name for the lines.
        name: String,
        /// The program and its arguments.
        argv: Vec<String>,
        /// User and group to run it as; 0 is root.
        uid: u32,
    },
    /// Waits until the kernel has done what it does behind the first program's back when it starts,
    /// such as the self-tests of its cryptography, and prints `e2e: settled`.
    Settle,
    /// Prints `e2e: waiting NAME` and stops until the host sends a line on the console.
    Wait {
        /// Name for the line.
        name: String,
    },
    /// Prints `e2e: panic TRIGGER cpu=N` and makes the kernel panic.
    Panic {
        /// How.
        trigger: Trigger,
        /// On which CPU.
        cpu: usize,
    },
}

/// A way to make a Linux kernel panic from user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// `c` to /proc/sysrq-trigger.
    Sysrq,
    /// `/init` exits.
    InitExit,
    /// The host injects an NMI; the guest only arms `kernel.unknown_nmi_panic`.
    Nmi,
    /// The kernel runs out of memory with `vm.panic_on_oom=2`.
    Oom,
    /// The module at [`TRIGGER_MODULE`] does it.
    Module(ModuleTrigger),
}

/// Where the module lies that panics from inside the kernel.
pub const TRIGGER_MODULE: &str = "/e2e/trigger.ko";

/// What the module does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleTrigger {
    /// It writes to address 0.
    Null,
    /// It calls `BUG()`.
    Bug,
    /// It calls `WARN()` with `kernel.panic_on_warn`.
    Warn,
    /// It calls `panic()`.
    Panic,
    /// It never ends and does not run, with `kernel.hung_task_panic`.
    HungTask,
    /// It keeps its CPU, with `kernel.softlockup_panic`.
    SoftLockup,
}

impl ModuleTrigger {
    /// The module's parameter `how`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bug => "bug",
            Self::Warn => "warn",
            Self::Panic => "panic",
            Self::HungTask => "hung-task",
            Self::SoftLockup => "soft-lockup",
        }
    }

    /// What makes the kernel panic for it: files below /proc/sys/kernel and their values.
    pub const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Null | Self::Bug => &[("panic_on_oops", "1")],
            Self::Warn => &[("panic_on_warn", "1")],
            Self::Panic => &[],
            Self::HungTask => &[("hung_task_panic", "1"), ("hung_task_timeout_secs", "1")],
            Self::SoftLockup => &[("softlockup_panic", "1"), ("watchdog_thresh", "1")],
        }
    }
}

/// The content of the pattern page: a SplitMix64 sequence, little-endian, so that no two words
/// and no two pages of one run look alike.
pub fn pattern(seed: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    let mut state = seed;
    for word in page.as_chunks_mut::<8>().0 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (z ^ (z >> 31)).to_le_bytes();
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_differ_by_seed_and_by_word() {
        assert_ne!(pattern(1), pattern(2));
        let words: std::collections::HashSet<[u8; 8]> =
            pattern(7).as_chunks::<8>().0.iter().copied().collect();
        assert_eq!(words.len(), 512);
    }

    #[test]
    fn a_script_survives_the_trip() {
        let script = Script {
            steps: vec![
                Step::Nonce { text: "x".into() },
                Step::Panic { trigger: Trigger::Sysrq, cpu: 3 },
            ],
        };
        let json = serde_json::to_string(&script).expect("serializes");
        let back: Script = serde_json::from_str(&json).expect("parses");
        assert_eq!(back.steps.len(), 2);
    }
}
