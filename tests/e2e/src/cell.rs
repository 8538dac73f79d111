//! One machine to try something on, with everything in it replaceable.

use std::path::PathBuf;

use e2e_guest::Trigger;
use purgatorio::facts::Arch;

use crate::arch::{self, FirmwareKind, Profile};
use crate::kernel::Kernel;
use crate::loader::{Loader, Maker};

/// Which of the two system calls the loader is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// kexec_load, `-c`.
    Load,
    /// kexec_file_load, `-s`.
    FileLoad,
    /// The loader's choice, `-a`.
    Auto,
}

/// A machine, its kernels, and the loader under test.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Name of the folder for its logs.
    pub name: String,
    /// The machine's architecture.
    pub arch: Arch,
    /// The first kernel.
    pub kernel: Kernel,
    /// The kernel that is loaded: the capture kernel, or the one that is rebooted to.
    pub second_kernel: PathBuf,
    /// The capture kernel's initrd.
    pub capture_initrd: PathBuf,
    /// The loader under test.
    pub loader: Loader,
    /// Which system call it uses.
    pub syscall: Syscall,
    /// More options for it.
    pub loader_options: Vec<String>,
    /// RAM in MiB.
    pub memory: u64,
    /// Number of CPUs.
    pub smp: usize,
    /// `crashkernel=` of the first kernel; `None` leaves it out.
    pub crashkernel: Option<String>,
    /// QEMU's CPU model.
    pub cpu: String,
    /// What starts it.
    pub firmware: FirmwareKind,
    /// More QEMU arguments.
    pub qemu_arguments: Vec<String>,
    /// More words for the first kernel's command line.
    pub append: String,
    /// Kernel address space randomization in both kernels.
    pub kaslr: bool,
    /// How it is made to panic.
    pub trigger: Trigger,
    /// On which CPU.
    pub panic_cpu: usize,
    /// Count instructions: phases come from an undisturbed run on one deterministic CPU.
    pub measured: bool,
    /// Keep the dump after a pass.
    pub keep_dump: bool,
}

/// Where the second kernel lies in the first one's initramfs.
pub const SECOND_KERNEL: &str = "/e2e/kernel";
/// Where its initrd lies.
pub const SECOND_INITRD: &str = "/e2e/initrd";
/// Where the loader lies.
pub const LOADER: &str = "/sbin/kexec";

impl Cell {
    /// What the harness knows about the machine's architecture.
    pub fn profile(&self) -> &'static Profile {
        arch::profile(self.arch)
    }

    /// Whether the running kernel makes the segments itself: where `-s` asks for that, or
    /// lockdown leaves `-a` no other choice.
    pub fn loads_by_file(&self) -> bool {
        match self.syscall {
            Syscall::FileLoad => true,
            Syscall::Auto => self.firmware == FirmwareKind::SecureBoot,
            Syscall::Load => false,
        }
    }

    /// The first kernel's command line.
    pub fn command_line(&self) -> String {
        // panic=-1: a panic that no capture kernel catches resets the machine at once.
        let mut words = vec![self.console(), "panic=-1 rdinit=/init".to_owned()];
        words.extend(self.crashkernel.iter().map(|size| format!("crashkernel={size}")));
        words.extend(self.nokaslr());
        words.push(self.append.clone());
        words.join(" ").trim_end().to_owned()
    }

    /// The capture kernel's command line, as given to the loader.
    pub fn capture_command_line(&self) -> String {
        let words = format!("nr_cpus={} reset_devices", self.capture_cpus());
        self.second_command_line(&words)
    }

    /// The command line of a second kernel, as given to the loader; `words` are what it has
    /// beside what the machine needs.
    pub fn second_command_line(&self, words: &str) -> String {
        // The first line of the kernel is seen when it is printed, not when the console's driver
        // starts.
        let early = self.profile().early_console.to_owned();
        let mut line = vec![self.console()];
        line.extend((!early.is_empty()).then_some(early));
        line.push("panic=-1".into());
        line.push(words.into());
        line.extend(self.nokaslr());
        line.join(" ")
    }

    /// How many CPUs the capture kernel brings up.
    pub fn capture_cpus(&self) -> usize {
        if self.profile().smp_capture { self.smp } else { 1 }
    }

    fn console(&self) -> String {
        format!("console={}", self.profile().console)
    }

    fn nokaslr(&self) -> Option<String> {
        (self.profile().kaslr && !self.kaslr).then(|| "nokaslr".to_owned())
    }

    /// The loader's arguments for the capture kernel, after the program.
    pub fn load_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-p".to_owned()];
        arguments.extend(self.common_arguments());
        arguments.push(format!("--initrd={SECOND_INITRD}"));
        arguments.push(format!("--append={}", self.capture_command_line()));
        arguments.push(SECOND_KERNEL.to_owned());
        arguments
    }

    /// The options that every load of this cell has.
    pub fn common_arguments(&self) -> Vec<String> {
        let syscall = match self.syscall {
            Syscall::Load => "-c",
            Syscall::FileLoad => "-s",
            Syscall::Auto => "-a",
        };
        let mut arguments = vec![syscall.to_owned()];
        match self.loader.maker {
            // On x86 its purgatory is silent unless told otherwise; ours takes the kernel's console.
            Maker::Peer if matches!(self.arch, Arch::X86_64 | Arch::I386) => {
                arguments.push("--console-serial".into());
            }
            Maker::Ours | Maker::Peer => {}
        }
        arguments.extend(self.loader_options.iter().cloned());
        arguments
    }
}
