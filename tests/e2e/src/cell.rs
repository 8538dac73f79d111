//! One machine to try something on, with everything in it replaceable.

use std::path::PathBuf;

use e2e_guest::Trigger;

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

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareKind {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// A machine, its kernels, and the loader under test.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Name of the folder for its logs.
    pub name: String,
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
    /// The first kernel's command line.
    pub fn command_line(&self) -> String {
        // panic=-1: a panic that no capture kernel catches resets the machine at once.
        let mut words = vec!["console=ttyS0 panic=-1 rdinit=/init".to_owned()];
        words.extend(self.crashkernel.iter().map(|size| format!("crashkernel={size}")));
        words.extend((!self.kaslr).then(|| "nokaslr".to_owned()));
        words.push(self.append.clone());
        words.join(" ").trim_end().to_owned()
    }

    /// The capture kernel's command line, as given to the loader.
    pub fn capture_command_line(&self) -> String {
        // earlyprintk: the first line of the kernel is seen when it is printed, not when the
        // console driver starts.
        let kaslr = if self.kaslr { "" } else { " nokaslr" };
        format!("console=ttyS0 earlyprintk=ttyS0 panic=-1 nr_cpus=1 reset_devices{kaslr}")
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
            Maker::Ours => {}
            // Its purgatory is silent unless told otherwise; ours takes the kernel's console.
            Maker::Peer => arguments.push("--console-serial".into()),
        }
        arguments.extend(self.loader_options.iter().cloned());
        arguments
    }
}
