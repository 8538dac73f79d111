//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::FirmwareKind;

/// OVMF's files. Other firmware comes with QEMU.
#[derive(Clone, Debug)]
pub struct Flash {
    /// OVMF_CODE*.fd
    pub code: PathBuf,
    /// This machine's own copy of OVMF_VARS*.fd, which it may write to.
    pub variables: PathBuf,
}

/// A machine under TCG with a serial console and no display.
#[derive(Clone, Debug)]
pub struct Machine {
    /// QEMU's program.
    pub program: &'static str,
    /// The kernel that QEMU loads.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: PathBuf,
    /// Its command line.
    pub append: String,
    /// RAM in MiB.
    pub memory: u64,
    /// Number of CPUs.
    pub smp: usize,
    /// QEMU's name of the CPU model, with features.
    pub cpu: String,
    /// What starts the kernel, and so which machine it is.
    pub firmware: FirmwareKind,
    /// The firmware's files, where QEMU has none.
    pub flash: Option<Flash>,
    /// A raw disk image, /dev/vda of the guest.
    pub disk: Option<PathBuf>,
    /// Offer a gdbstub.
    pub gdb: bool,
    /// Count instructions with this plugin: one deterministic CPU, virtual time from the
    /// instruction count.
    pub plugin: Option<PathBuf>,
    /// More arguments.
    pub extra: Vec<String>,
}

impl Machine {
    /// The command, with its sockets in `sockets` and the plugin's output in `trace`.
    pub(super) fn command(&self, sockets: &Path, trace: Option<&Path>) -> Command {
        let mut command = Command::new(self.program);
        let machine = format!("{},accel=tcg", self.firmware.qemu_machine());
        command
            .args(["-nodefaults", "-display", "none", "-machine", &machine])
            .args(["-cpu", &self.cpu, "-m", &self.memory.to_string()])
            .args(["-smp", &self.smp.to_string(), "-serial", "stdio"])
            // A reset must end the machine, so that the harness sees it and nothing boots twice.
            .args(["-action", "reboot=shutdown"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .args(["-append", &self.append]);
        socket(&mut command, "qmp", sockets);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        if self.gdb {
            socket(&mut command, "gdb", sockets);
            command.args(["-gdb", "chardev:gdb"]);
        }
        command.args(self.firmware.devices());
        if let Some(Flash { code, variables }) = &self.flash {
            command.arg("-drive").arg(flash(code, "on"));
            command.arg("-drive").arg(flash(variables, "off"));
        }
        if let Some(disk) = &self.disk {
            let drive = format!("id=disk,if=none,format=raw,cache=unsafe,file={}", disk.display());
            let bus = self.firmware.disk_bus().map(|bus| format!(",bus={bus}")).unwrap_or_default();
            let device = format!("virtio-blk-pci,drive=disk{bus}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        if let (Some(plugin), Some(trace)) = (&self.plugin, trace) {
            let plugin = format!("{},out={}", plugin.display(), trace.display());
            command
                .args(["-icount", "shift=0,sleep=off", "-seed", "1", "-plugin", &plugin])
                .args(["-rtc", "base=2026-01-01,clock=vm"]);
        }
        command.args(&self.extra);
        command
    }
}

fn socket(command: &mut Command, name: &str, sockets: &Path) {
    let path = sockets.join(name);
    let chardev = format!("socket,id={name},path={},server=on,wait=off", path.display());
    command.args(["-chardev", &chardev]);
}

fn flash(file: &Path, readonly: &str) -> String {
    format!("if=pflash,format=raw,readonly={readonly},file={}", file.display())
}
