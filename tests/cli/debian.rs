//! The command lines of Debian's own callers, word for word, with `--dry-run` added: kdump-tools
//! 1:1.8.1, kexec-tools 1:2.0.25-3, systemd 252; and of the kernel's selftests. What unloads or starts a kernel is tried in the
//! scenario `dropin`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::kernels;
use crate::program::{debian_sysroot, kexec};

/// A kernel and an initrd to load, in a directory of their own.
struct Files {
    _directory: tempfile::TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, initrd) = (directory.path().join("vmlinuz"), directory.path().join("initrd"));
        fs::write(&kernel, kernels::bzimage()).unwrap();
        fs::write(&initrd, [0x77; 10_000]).unwrap();
        Self { _directory: directory, kernel, initrd }
    }

    /// The plan of `command`, in which KERNEL and INITRD stand for the files.
    fn plan(&self, command: &[&str]) -> Value {
        let file = |word: &str| {
            word.replace("KERNEL", self.kernel.to_str().unwrap())
                .replace("INITRD", self.initrd.to_str().unwrap())
        };
        let sysroot = debian_sysroot();
        let words = command.iter().map(|word| file(word));
        let dry = ["--dry-run", "--format=json", "--sysroot", sysroot.to_str().unwrap()];
        kexec(words.chain(dry.map(str::to_owned))).json()
    }
}

fn has_initrd(plan: &Value) -> bool {
    plan["segments"].as_array().unwrap().iter().any(|segment| segment["what"] == "initrd")
}

/// kdump-config load: "root=… reset_devices …" is one word there, in quotes.
#[test]
fn kdump_config_loads_a_capture_kernel() {
    let line = "root=/dev/vda1 quiet  reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 \
                irqpoll usbcore.nousb";
    let option = format!("--command-line={line}");
    let plan = Files::new().plan(&["-p", &option, "--initrd=INITRD", "KERNEL"]);
    assert_eq!(plan["target"], "crash");
    assert!(plan["command_line"].as_str().unwrap().starts_with(line), "{plan}");
    assert!(has_initrd(&plan), "{plan}");
}

/// With Secure Boot it adds `-s`; with an ELF kernel, `--args-linux`; with settings, more options.
#[test]
fn kdump_config_adds_options() {
    let files = Files::new();
    let plan = files.plan(&["-p", "-s", "--command-line=quiet", "--initrd=INITRD", "KERNEL"]);
    assert_eq!(plan["system_call"], "kexec_file_load");
    let options = ["-p", "--args-linux", "--elf64-core-headers", "--command-line=quiet", "KERNEL"];
    fs::write(&files.kernel, kernels::vmlinux()).unwrap();
    assert_eq!(files.plan(&options)["target"], "crash");
}

/// kexec-tools' /etc/init.d/kexec-load: the kernel comes first.
#[test]
fn the_init_script_loads_the_next_kernel() {
    let files = Files::new();
    let plan = files.plan(&["-l", "KERNEL", "--initrd=INITRD", "--append=root=/dev/vda1 ro quiet"]);
    assert_eq!(plan["target"], "reboot");
    assert!(plan["command_line"].as_str().unwrap().starts_with("root=/dev/vda1 ro quiet"));
    assert!(has_initrd(&plan), "{plan}");
    assert!(!has_initrd(&files.plan(&["-l", "KERNEL", "--append=root=/dev/vda1 ro quiet"])));
}

/// systemctl kexec: long options, and their values as words of their own.
#[test]
fn systemctl_loads_the_boot_loaders_entry() {
    let files = Files::new();
    let words = ["--load", "KERNEL", "--append", "root=/dev/vda1 rw", "--initrd", "INITRD"];
    let plan = files.plan(&words);
    assert!(plan["command_line"].as_str().unwrap().starts_with("root=/dev/vda1 rw"));
    assert!(has_initrd(&plan), "{plan}");
    assert!(!has_initrd(&files.plan(&words[..4])));
}

/// The kernel's tools/testing/selftests/kexec (Linux 6.1): nothing but the kernel is given.
#[test]
fn the_kernels_own_tests_load_a_kernel() {
    let files = Files::new();
    assert_eq!(files.plan(&["--load", "KERNEL"])["target"], "reboot");
    let plan = files.plan(&["--load", "--kexec-file-syscall", "KERNEL"]);
    assert_eq!(plan["system_call"], "kexec_file_load");
}
