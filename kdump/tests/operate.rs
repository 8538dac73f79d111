//! `kdump load`, `status` and `unload` as an operator runs them, on a machine made of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Where `kexec` says what it has.
const LOADED: &str = "sys/kernel/kexec_crash_loaded";
const RECORD: &str = "run/kdump/loaded.json";
const IMAGE: &str = "var/lib/kdump/initramfs-1.2.3.img";

/// A machine with one disk, a kernel that has everything built in, and a loader that keeps its
/// arguments.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        let files = [
            ("proc/cmdline", "root=/dev/vda1 quiet console=ttyS0 crashkernel=256M\n"),
            ("proc/sys/kernel/osrelease", "1.2.3\n"),
            ("proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/vda rw\n"),
            ("proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 999000 kB\n"),
            (LOADED, "0\n"),
            ("sys/kernel/kexec_crash_size", "268435456\n"),
            ("sys/class/block/vda/size", "8\n"),
            ("sys/devices/system/cpu/present", "0-3\n"),
            ("sys/devices/system/memory/memory0/state", "online\n"),
            ("boot/vmlinuz-1.2.3", "kernel"),
            (
                "lib/modules/1.2.3/modules.builtin",
                "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n",
            ),
            ("etc/kdump.toml", "[[target]]\nto = \"ext4:LABEL=dumps\"\n"),
        ];
        for (path, text) in files {
            machine.write(path, text);
        }
        machine.write_bytes("dev/vda", &ext4("dumps", 1));
        machine.write_bytes("programs/kdump-capture", &static_program());
        machine.kexec(
            "[ $1 = --version ] && { echo 'kexec 1.2 (test)'; exit; }; \
             echo \"$@\" >> \"$0.log\"; [ $1 = --prepare ] || case $2 in -u) echo 0 > $LOADED;; *) echo 1 > $LOADED;; esac",
        );
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(path)).unwrap_or_default()).into_owned()
    }

    /// Makes the loader a shell script.
    fn kexec(&self, script: &str) {
        let loaded = self.path(LOADED);
        self.write(
            "programs/kexec",
            &format!("#!/bin/sh\nLOADED={}\n{script}\n", loaded.display()),
        );
        let path = self.path("programs/kexec");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdump"));
        command.args(arguments).arg("--sysroot").arg(self.dir.path());
        match arguments[0] {
            "load" => drop(command.args([
                "--kexec".as_ref(),
                self.path("programs/kexec").as_os_str(),
                "--init".as_ref(),
                self.path("programs/kdump-capture").as_os_str(),
            ])),
            "unload" => drop(command.arg("--kexec").arg(self.path("programs/kexec"))),
            _asks => drop(command.arg("--init").arg(self.path("programs/kdump-capture"))),
        }
        command.output().unwrap()
    }

    fn load(&self) -> String {
        let output = self.run(&["load"]);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// Exit code and the kinds of what was found.
    fn status(&self) -> (i32, String) {
        let output = self.run(&["status", "--json"]);
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        let kinds =
            json["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap());
        (output.status.code().unwrap(), kinds.collect::<Vec<_>>().join(" "))
    }
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// The start of a device with an ext4 superblock (Documentation/filesystems/ext4/super.rst, Linux
/// 6.1).
fn ext4(label: &str, uuid: u8) -> Vec<u8> {
    let mut device = vec![0; 4096];
    device[1024 + 0x38..][..2].copy_from_slice(&[0x53, 0xef]);
    device[1024 + 0x68..][..16].fill(uuid);
    device[1024 + 0x78..][..label.len()].copy_from_slice(label.as_bytes());
    device
}

/// The smallest file that passes for a static program: an ELF header without segments.
fn static_program() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1u32.to_le_bytes());
    elf.resize(52, 0);
    elf.extend([64u16, 56, 0, 64, 0, 0].map(u16::to_le_bytes).concat());
    elf
}

#[test]
fn load_builds_the_image_and_hands_it_to_kexec() {
    let machine = Machine::new();
    let said = machine.load();
    assert!(
        said.contains("kdump: loaded /boot/vmlinuz-1.2.3 for dumps to ext4:LABEL=dumps"),
        "{said}"
    );
    let image = machine.read(IMAGE);
    for part in ["target = ext4:LABEL=dumps", "format = kdump", "level = 31", "compression = zlib"]
    {
        assert!(image.contains(part), "{part}");
    }
    let arguments = machine.read("programs/kexec.log");
    let image = machine.path(IMAGE);
    assert!(arguments.contains(&format!("--initrd={}", image.display())), "{arguments}");
    assert!(arguments.contains("--command-line=console=ttyS0 reset_devices"), "{arguments}");
    assert!(arguments.contains(" kdump.loader=\"kexec 1.2 (test)\"\n"), "{arguments}");
    assert!(!arguments.contains("root=") && !arguments.contains("crashkernel"), "{arguments}");
    assert_eq!(machine.status(), (0, String::new()));
}

#[test]
fn loading_again_does_nothing_until_something_changes() {
    let machine = Machine::new();
    machine.load();
    let loads = |machine: &Machine| machine.read("programs/kexec.log").lines().count();
    assert!(machine.load().contains("already loaded"));
    assert_eq!(loads(&machine), 1);
    assert!(machine.run(&["load", "--force"]).status.success());
    assert_eq!(loads(&machine), 2);
    machine.write("etc/kdump.toml", "[[target]]\nto = \"ext4:LABEL=dumps\"\npath = \"/x\"\n");
    assert!(machine.load().contains("kdump: built"));
    assert_eq!(loads(&machine), 3);
    // Loaded by somebody else, or taken away: the record alone is not believed.
    machine.write(LOADED, "0\n");
    machine.load();
    assert_eq!(loads(&machine), 4);
}

#[test]
fn nothing_is_left_half_when_a_load_fails() {
    let machine = Machine::new();
    machine.kexec("echo no such luck >&2; exit 255");
    let output = machine.run(&["load"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no such luck"), "{}", text(&output));
    assert!(!machine.path(RECORD).exists());
    machine.kexec("exit 254");
    assert!(text(&machine.run(&["load"])).contains("crashkernel="));
    machine.kexec("exit 0");
    assert!(text(&machine.run(&["load"])).contains("nothing is loaded"));
    assert!(!machine.path(RECORD).exists());
    let leftover = fs::read_dir(machine.path("var/lib/kdump")).unwrap().count();
    assert_eq!(leftover, 1, "only the image");
}

#[test]
fn dry_run_and_prepare_load_nothing() {
    let machine = Machine::new();
    let shown = text(&machine.run(&["load", "--dry-run"]));
    assert!(shown.contains("  - quiet: ") && shown.contains("  + reset_devices: "), "{shown}");
    assert!(shown.contains("level = 31") && !machine.path(IMAGE).exists());
    machine.write("boot/vmlinuz-2.0.0", "kernel");
    machine.write(
        "lib/modules/2.0.0/modules.builtin",
        "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n",
    );
    let output = machine.run(&["load", "--prepare", "2.0.0"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(machine.path("var/lib/kdump/initramfs-2.0.0.img").exists());
    let log = machine.read("programs/kexec.log");
    assert!(log.starts_with("--prepare ") && log.ends_with("/boot/vmlinuz-2.0.0\n"), "{log}");
}

#[test]
fn a_loader_need_not_say_what_it_is() {
    let machine = Machine::new();
    let long = format!("console=ttyS0 x={}", "x".repeat(1500));
    let too_long = format!("{long} y={}", "y".repeat(500));
    for (running, answer, is_told) in [
        ("console=ttyS0", "echo kexec 1.2", true),
        ("console=ttyS0", "echo kexec 1.2; exit 1", false),
        ("console=ttyS0", "exec sleep 1000", false),
        // There is room for it, but not for what the loader adds.
        (&long, "echo kexec 1.2", false),
        (&too_long, "echo kexec 1.2", false),
    ] {
        machine.write("proc/cmdline", running);
        machine.kexec(&format!(
            "[ $1 = --version ] && {{ {answer}; exit; }}; echo \"$@\" > \"$0.log\"; echo 1 > $LOADED"
        ));
        assert!(machine.run(&["load", "--force"]).status.success());
        let log = machine.read("programs/kexec.log");
        assert_eq!(log.contains("kdump.loader=\"kexec 1.2\""), is_told, "{answer}: {log}");
    }
}

#[test]
fn unload_forgets() {
    let machine = Machine::new();
    machine.load();
    assert!(machine.run(&["unload"]).status.success());
    assert!(machine.run(&["unload"]).status.success());
    assert!(!machine.path(RECORD).exists());
    assert_eq!(machine.status(), (1, "not-loaded".into()));
}

/// What is done to a loaded machine, and what `kdump status` must say of it.
#[test]
fn status_notices_every_defect() {
    type Defect = (&'static str, fn(&Machine), (i32, &'static str));
    let defects: [Defect; 15] = [
        ("none", |_| (), (0, "")),
        ("taken away", |m| m.write(LOADED, "0\n"), (1, "not-loaded")),
        (
            "no reservation",
            |m| {
                m.write(LOADED, "0\n");
                m.write("sys/kernel/kexec_crash_size", "0\n");
            },
            (1, "not-reserved"),
        ),
        ("loaded by hand", |m| fs::remove_file(m.path(RECORD)).unwrap(), (3, "not-recorded")),
        (
            "other settings",
            |m| {
                m.write(
                    "etc/kdump.toml",
                    "[dump]\nlevel = 1\n[[target]]\nto = \"ext4:LABEL=dumps\"\n",
                )
            },
            (2, "stale"),
        ),
        ("bad settings", |m| m.write("etc/kdump.toml", "[dmp]\n"), (2, "settings")),
        (
            "other kernel running",
            |m| {
                m.write("proc/sys/kernel/osrelease", "2.0.0\n");
                m.write("boot/vmlinuz-2.0.0", "kernel");
                let builtin = m.read("lib/modules/1.2.3/modules.builtin");
                m.write("lib/modules/2.0.0/modules.builtin", &builtin);
            },
            (2, "stale"),
        ),
        ("kernel file changed", |m| m.write("boot/vmlinuz-1.2.3", "other"), (2, "stale")),
        (
            "kernel file gone",
            |m| fs::remove_file(m.path("boot/vmlinuz-1.2.3")).unwrap(),
            (2, "cannot-prepare"),
        ),
        (
            "capture program changed",
            |m| {
                let mut program = static_program();
                program.push(0);
                m.write_bytes("programs/kdump-capture", &program);
            },
            (2, "stale"),
        ),
        (
            "memory added",
            |m| m.write("sys/devices/system/memory/memory1/state", "online\n"),
            (2, "hardware-changed"),
        ),
        (
            "memory added, the kernel follows",
            |m| {
                m.write("sys/devices/system/memory/memory1/state", "online\n");
                m.write("sys/devices/system/memory/crash_hotplug", "1\n");
            },
            (0, ""),
        ),
        (
            "disk gone",
            |m| fs::remove_dir_all(m.path("sys/class/block/vda")).unwrap(),
            (2, "target-missing no-target"),
        ),
        ("disk made anew", |m| m.write_bytes("dev/vda", &ext4("dumps", 2)), (2, "stale")),
        (
            "memory full of what is kept",
            |m| {
                m.write("proc/meminfo", &format!("MemTotal: {} kB\n", u64::MAX / 2048));
            },
            (2, "no-space no-target"),
        ),
    ];
    for (name, defect, (code, kinds)) in defects {
        let machine = Machine::new();
        machine.load();
        defect(&machine);
        assert_eq!(machine.status(), (code, kinds.to_owned()), "{name}");
    }
}

#[test]
fn one_of_two_targets_is_enough() {
    let machine = Machine::new();
    machine.write(
        "etc/kdump.toml",
        "[[target]]\nto = \"ext4:LABEL=lost\"\n[[target]]\nto = \"ext4:LABEL=dumps\"\n",
    );
    let said = machine.load();
    assert!(said.contains("warning: ext4:LABEL=lost is not there"), "{said}");
    assert_eq!(machine.status(), (0, "target-missing".into()));
    let marked = || machine.path("run/kdump/target-absent").exists();
    assert!(marked());
    machine.write_bytes("dev/vda", &ext4("lost", 1));
    machine.write("etc/kdump.toml", "[[target]]\nto = \"ext4:LABEL=lost\"\n");
    machine.load();
    assert!(!marked());
    // Nothing is loaded without an image; what udev looks at is there nevertheless.
    machine.write_bytes("dev/vda", &ext4("other", 1));
    fs::remove_file(machine.path("programs/kdump-capture")).unwrap();
    let failed = machine.run(&["load"]);
    assert!(!failed.status.success() && marked(), "{}", text(&failed));
}

#[test]
fn a_target_that_is_gone_hides_no_other_change() {
    let machine = Machine::new();
    let targets = "[[target]]\nto = \"ext4:LABEL=dumps\"\n[[target]]\nto = \"ext4:LABEL=usb\"\n";
    machine.write("etc/kdump.toml", targets);
    machine.write("sys/class/block/vdb/size", "8\n");
    machine.write_bytes("dev/vdb", &ext4("usb", 2));
    machine.load();
    assert_eq!(machine.status(), (0, String::new()));
    fs::remove_dir_all(machine.path("sys/class/block/vdb")).unwrap();
    assert_eq!(machine.status(), (0, "target-missing".into()));
    machine.write("etc/kdump.toml", &format!("[dump]\nlevel = 1\n{targets}"));
    assert_eq!(machine.status(), (2, "stale target-missing".into()));
}

#[test]
fn without_a_target_the_file_system_of_var_crash_is_it() {
    let machine = Machine::new();
    machine.write("etc/kdump.toml", "");
    let said = machine.load();
    assert!(said.contains("ext4:UUID=01010101-0101-0101-0101-010101010101"), "{said}");
    assert!(machine.read(IMAGE).contains("path = /var/crash\n"));
    machine.write("proc/self/mountinfo", "22 1 0:3 / / rw - overlay overlay rw\n");
    assert!(text(&machine.run(&["load"])).contains("name a target in /etc/kdump.toml"));
}

#[test]
fn a_machine_that_says_nothing_is_unknown() {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kdump"))
        .args(["status", "--sysroot"])
        .arg(empty.path())
        .output()
        .unwrap();
    // No kexec at all: nothing is loaded, and that is known.
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}
