//! The virtual machine that stands for the real one: QEMU's program and its arguments.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use purgatorio::facts::Arch;
use serde::Serialize;

/// What QEMU has for an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// QEMU's program.
    pub program: &'static str,
    /// Debian's package with it.
    pub package: &'static str,
    /// `-machine`.
    pub machine: &'static str,
    /// `-cpu` where the CPU is emulated.
    pub cpu: &'static str,
    /// The kernel's name of the console.
    pub console: &'static str,
}

impl Model {
    /// The one for `arch`.
    pub fn of(arch: Arch) -> Self {
        let pc = |program| Self {
            program,
            package: "qemu-system-x86",
            machine: "q35",
            cpu: "max",
            console: "ttyS0",
        };
        match arch {
            Arch::X86_64 => pc("qemu-system-x86_64"),
            Arch::I386 => pc("qemu-system-i386"),
            // Started by QEMU's own minimal Open Firmware: seconds faster than SLOF.
            Arch::Ppc64le | Arch::Ppc64 => Self {
                program: "qemu-system-ppc64",
                package: "qemu-system-ppc",
                machine: "pseries,x-vof=on",
                cpu: "POWER9",
                console: "hvc0",
            },
        }
    }
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// This machine's CPU.
    Kvm,
    /// An emulation: on any machine, many times slower.
    Tcg,
}

impl Accelerator {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }

    /// KVM where QEMU can use it for a guest of `arch`.
    ///
    /// That is asked of QEMU itself, by a machine without anything in it: what /dev/kvm permits and
    /// what the CPU has are its business.
    pub fn best(arch: Arch) -> Self {
        let host = Arch::of_program();
        let same = host == Some(arch) || (host == Some(Arch::X86_64) && arch == Arch::I386);
        let mut probe = Command::new(Model::of(arch).program);
        probe.args(["-nodefaults", "-display", "none", "-machine", "none", "-accel", "kvm"]);
        probe.args(["-monitor", "stdio"]);
        if same && runs_until_told_to_quit(&mut probe).unwrap_or(false) {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }
}

fn runs_until_told_to_quit(qemu: &mut Command) -> io::Result<bool> {
    let mut child =
        qemu.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // A QEMU that has ended already does not read it; its status says so too.
    let _ = child.stdin.take().map(|mut monitor| monitor.write_all(b"quit\n"));
    Ok(child.wait()?.success())
}

/// A machine, and what it boots.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its architecture.
    pub arch: Arch,
    /// What runs it.
    pub accelerator: Accelerator,
    /// RAM in MiB.
    pub memory: u64,
    /// Number of CPUs.
    pub smp: usize,
    /// The kernel that QEMU loads.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: PathBuf,
    /// Its command line.
    pub append: String,
    /// QEMU's arguments for the disks.
    pub disks: Vec<String>,
}

impl Machine {
    /// QEMU's command: the console is its standard input and output, and a reset ends it.
    pub fn command(&self) -> Command {
        let model = Model::of(self.arch);
        let (accelerator, cpu) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            Accelerator::Tcg => ("tcg", model.cpu),
        };
        let mut command = dying_with_us(model.program);
        command
            .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
            .args(["-machine", &format!("{},accel={accelerator}", model.machine)])
            .args(["-cpu", cpu, "-m", &self.memory.to_string(), "-smp", &self.smp.to_string()])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .args(["-append", &self.append])
            .args(&self.disks);
        command
    }
}

/// `program` by setpriv(1) of util-linux, which has the kernel kill it when we are killed. Where
/// there is none it ends with us in every other case.
fn dying_with_us(program: &str) -> Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// `path` in the value of a QEMU option, where a comma begins the next word.
pub fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
