//! Planning: an image and the machine's facts become segments. Pure: no file, no system call.

mod capture;
mod chosen;
pub mod command_line;
pub mod digest;
mod elf;
mod error;
mod initrd;
mod layout;
pub mod place;
mod ppc64;
mod seal;
#[cfg(test)]
mod soundness;
#[cfg(test)]
mod testing;
pub mod x86;

pub use error::PlanError;

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use purgatory::params::{Console, OnMismatch};

use crate::elfcore::Class;
use crate::facts::{Facts, Platform};
use crate::fdt::DeviceTree;
use crate::image::{BzImage, Multiboot, Vmlinux};
use crate::range::PhysRange;

/// Plans a load: what goes where, and how the kernel is entered.
pub fn plan<'a>(
    request: &Request<'a>,
    facts: &Facts,
    purgatory: &linker::Image<'_>,
) -> Result<Plan<'a>, PlanError> {
    match &facts.platform {
        Platform::X86(x86) => x86::plan(request, facts, x86, purgatory),
        Platform::Ppc64(machine) => ppc64::plan(request, facts, machine, purgatory),
    }
}

/// What to load. The files' bytes are borrowed by the plan, not copied.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What the kernel is for.
    pub target: Target,
    /// The kernel and how it is to be entered ([`x86::entry::Situation::choose`]).
    pub kernel: Kernel<'a>,
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// The command line; a crash kernel's is completed by the plan.
    pub command_line: &'a str,
    /// Everything else.
    pub options: Options,
}

/// A kernel and its entry.
#[derive(Clone, Copy, Debug)]
pub enum Kernel<'a> {
    /// Through the bzImage's own code.
    BzImage {
        /// The file.
        image: &'a BzImage<'a>,
        /// Through its 32-bit entry.
        entry_32bit: bool,
    },
    /// Through the ELF kernel's own entry.
    Direct {
        /// The bzImage that it was unpacked from: its setup header says what the kernel can do.
        /// `None` for a bare vmlinux file.
        header: Option<&'a BzImage<'a>>,
        /// The kernel.
        vmlinux: &'a Vmlinux<'a>,
    },
    /// On a PC: a kernel that is not started as Linux is.
    Program(Program<'a>),
}

/// A kernel that is not started as Linux is: what is loaded, and the protocol.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// Multiboot, of the version that its header has.
    Multiboot {
        /// The kernel.
        image: &'a Multiboot<'a>,
        /// What is loaded beside it, in this order.
        modules: &'a [Module<'a>],
    },
    /// An ELF file.
    Elf {
        /// The kernel.
        vmlinux: &'a Vmlinux<'a>,
        /// What it is told.
        arguments: ElfArguments,
    },
}

impl<'a> Program<'a> {
    /// What is loaded.
    pub fn elf(self) -> &'a Vmlinux<'a> {
        match self {
            Self::Multiboot { image, .. } => &image.program,
            Self::Elf { vmlinux, .. } => vmlinux,
        }
    }
}

/// A Multiboot module.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its file's bytes.
    pub data: &'a [u8],
    /// What the kernel reads about it: the file's name and arguments.
    pub text: &'a str,
}

/// What an ELF program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfArguments {
    /// ELF boot notes: the loader's name and the command line.
    Notes,
    /// Nothing.
    None,
}

/// How to plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lowest physical address that a segment may have.
    pub mem_min: u64,
    /// Highest physical address that a segment's last byte may have.
    pub mem_max: u64,
    /// Whether purgatory verifies the segments.
    pub verify: bool,
    /// What purgatory does when one is damaged.
    pub on_mismatch: OnMismatch,
    /// Where purgatory reports.
    pub console: Console,
    /// Put a crash kernel's memory map on its command line too.
    pub pass_memmap_cmdline: bool,
    /// Let the next kernel use EFI runtime services, when there is EFI.
    pub efi: bool,
    /// The running kernel will rewrite elfcorehdr on CPU and memory hotplug, and the device tree.
    pub hotplug: bool,
    /// Take the initrd that the running kernel was started with and has retained in its memory.
    pub reuse_initrd: bool,
    /// The device tree to start from in place of the running kernel's, on machines that have one;
    /// on others one more thing that the next kernel is told.
    pub device_tree: Option<DeviceTree>,
    /// Class of the ELF core headers; `None`: the one that suits the machine.
    pub core_class: Option<Class>,
    /// Randomness for the next kernel.
    pub rng_seed: Option<[u8; 32]>,
    /// Why the entry is not the preferred one, as [`x86::entry::Situation::choose`] said.
    pub entry_reason: Option<String>,
}

impl Options {
    /// Where segments may be.
    fn window(&self) -> PhysRange {
        PhysRange::inclusive(self.mem_min, self.mem_max)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mem_min: 0,
            mem_max: u64::MAX,
            verify: true,
            on_mismatch: OnMismatch::default(),
            console: Console::default(),
            pass_memmap_cmdline: false,
            efi: true,
            hotplug: false,
            reuse_initrd: false,
            device_tree: None,
            core_class: None,
            rng_seed: None,
            entry_reason: None,
        }
    }
}

/// What the kernel that is loaded is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The next kernel of an orderly reboot (`-l`).
    Reboot,
    /// The capture kernel that starts on a panic (`-p`), inside the reserved memory.
    Crash,
}

/// What a segment holds. The names are the ones in messages of the loader and of purgatory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The kernel, or one PT_LOAD of it.
    Kernel,
    /// The initial RAM disk.
    Initrd,
    /// Files that are loaded beside a Multiboot kernel.
    Modules,
    /// What a kernel that is not Linux is told: Multiboot information, ELF boot notes.
    BootInformation,
    /// x86 `boot_params`, with setup_data behind it.
    BootParams,
    /// The flattened device tree.
    Dtb,
    /// The command line.
    CommandLine,
    /// ELF core headers that describe the dead kernel's memory.
    Elfcorehdr,
    /// Purgatory with its parameters and stack.
    Purgatory,
    /// Room for the backup region.
    Backup,
}

impl What {
    /// The name in messages: ASCII, at most 16 bytes (it fits a region's name field).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Modules => "modules",
            Self::BootInformation => "boot information",
            Self::BootParams => "boot_params",
            Self::Dtb => "dtb",
            Self::CommandLine => "command line",
            Self::Elfcorehdr => "elfcorehdr",
            Self::Purgatory => "purgatory",
            Self::Backup => "backup",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One segment for kexec_load.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// What it holds.
    pub what: What,
    /// Its content (`buf`, `bufsz`); empty for pure room.
    pub data: Cow<'a, [u8]>,
    /// Physical address (`mem`), page-aligned.
    pub address: u64,
    /// Size in memory (`memsz`), whole pages, at least `data.len()`.
    pub memsz: u64,
    /// SHA-256 of the quarters of `data` if purgatory verifies it (see
    /// [`purgatory::params::Region`]).
    pub digest: Option<[[u8; 32]; 4]>,
}

impl Segment<'_> {
    /// The memory it takes.
    pub fn range(&self) -> PhysRange {
        PhysRange::new(self.address, self.address.saturating_add(self.memsz))
    }
}

/// Which code of the kernel file runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// The unpacked kernel's own entry: no decompressor runs.
    Direct,
    /// A bzImage's 64-bit entry (start of the protected-mode code + 0x200).
    BzImage64,
    /// A bzImage's 32-bit entry.
    BzImage32,
    /// A vmlinux's own entry, on machines whose kernels come as such.
    Vmlinux,
    /// That of a Multiboot kernel.
    Multiboot,
    /// That of a Multiboot2 kernel, in the machine state for i386.
    Multiboot2,
    /// That of an ELF file which is not Linux.
    Elf,
}

/// Everything kexec_load needs, and what `--dry-run` shows.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What it is for.
    pub target: Target,
    /// How the kernel is entered.
    pub entry_mode: EntryMode,
    /// Why `entry_mode` is not the preferred one, in one sentence for `-d`.
    pub entry_reason: Option<String>,
    /// Physical address of purgatory's entry: kexec_load's `entry`.
    pub entry: u64,
    /// The segments, sorted by address, disjoint, at most 16.
    pub segments: Vec<Segment<'a>>,
    /// The next kernel's command line as it will be in memory.
    pub command_line: String,
}
