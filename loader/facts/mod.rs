//! What planning must know about the machine. Plain data: [`machine`](crate::machine) reads it
//! from /proc and /sys (or from a captured copy of them), tests write it by hand, and the plan
//! depends on nothing else.

pub mod ppc64;
pub mod x86;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use object::elf::{EM_386, EM_PPC64, EM_X86_64};

use crate::range::PhysRange;

pub use ppc64::Ppc64;
pub use x86::X86;

/// Machine architectures the loader knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86
    X86_64,
    /// 32-bit x86
    I386,
    /// 64-bit POWER, little-endian
    Ppc64le,
    /// 64-bit POWER, big-endian
    Ppc64,
}

impl Arch {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::I386, Self::Ppc64le, Self::Ppc64];

    /// The name in options, messages and folders.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::Ppc64le => "ppc64le",
            Self::Ppc64 => "ppc64",
        }
    }

    /// `e_machine` of its ELF files, by which kexec_load(2) knows it too.
    pub const fn e_machine(self) -> u16 {
        match self {
            Self::X86_64 => EM_X86_64.0,
            Self::I386 => EM_386.0,
            Self::Ppc64le | Self::Ppc64 => EM_PPC64.0,
        }
    }

    /// What this program is built for; `None` if the loader does not know it.
    pub const fn of_program() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "x86") {
            Some(Self::I386)
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Some(Self::Ppc64le)
        } else if cfg!(target_arch = "powerpc64") {
            Some(Self::Ppc64)
        } else {
            None
        }
    }

    /// By the name that uname(2) gives to the machine; `None` if the loader does not know it.
    pub fn of_uname(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" => Some(Self::X86_64),
            "i386" | "i486" | "i586" | "i686" => Some(Self::I386),
            "ppc64le" => Some(Self::Ppc64le),
            "ppc64" => Some(Self::Ppc64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// ELF notes that the kernel keeps ready in memory: a CPU's registers, or vmcoreinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Physical address.
    pub address: u64,
    /// Room reserved there, in bytes.
    pub size: u64,
}

/// Where the running kernel's text is, for the core's PT_LOAD that maps it where the linear map does
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelText {
    /// Virtual address of `_text` rounded down to a page.
    pub virt: u64,
    /// Physical range of the image, `_text` to `_end`.
    pub phys: PhysRange,
}

/// The machine as the loader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Architecture of the running kernel.
    pub arch: Arch,
    /// RAM as the running kernel sees it, sorted and disjoint: what a dump contains. "System RAM" of
    /// /proc/iomem, at any depth, without a GART aperture; on ppc64 what the device tree says.
    pub system_ram: Vec<PhysRange>,
    /// "Crash kernel" ranges of /proc/iomem (a low one and a high one, or none); on ppc64 the one
    /// of the device tree.
    pub crash_ranges: Vec<PhysRange>,
    /// /sys/kernel/kexec/crash_cma_ranges (kernel 6.19): usable by the capture kernel, not dumped.
    pub crash_cma_ranges: Vec<PhysRange>,
    /// Notes of every CPU that the kernel knows, on line or not, in order of CPU number.
    pub cpu_notes: Vec<Note>,
    /// The vmcoreinfo note.
    pub vmcoreinfo: Option<Note>,
    /// Running kernel's text, if it has a mapping of its own; unknown if neither kcore nor kallsyms
    /// could be read.
    pub kernel_text: Option<KernelText>,
    /// Virtual address at which the linear map shows physical address 0 (`PAGE_OFFSET`, randomized
    /// by KASLR); unknown if /proc/kcore cannot be read.
    pub page_offset: Option<u64>,
    /// Physical address at which the linear map ends, where it does not show all RAM: the end of
    /// i386's low memory.
    pub linear_map_end: Option<u64>,
    /// Running kernel's command line (/proc/cmdline), without the final newline.
    pub command_line: String,
    /// Size the kernel wants for `elfcorehdr` when it will update it itself on hotplug
    /// (/sys/kernel/kexec/crash_elfcorehdr_size or /sys/kernel/crash_elfcorehdr_size).
    pub crash_elfcorehdr_size: Option<u64>,
    /// What only this kind of machine has.
    pub platform: Platform,
}

/// What only one kind of machine has; its planner reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    /// A PC.
    X86(X86),
    /// A POWER machine, or a partition of one.
    Ppc64(Box<Ppc64>),
}
