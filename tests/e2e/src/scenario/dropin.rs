//! A Debian system whose own scripts and systemd call `kexec`, and get ours: kexec-tools and
//! kdump-tools are installed as always, and our package beside them.
//!
//! Each boot of the machine is a chapter with a script of its own; which one it is, a number on its
//! disk says, so that a boot which was lost or done twice is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e_guest::{Script, Step, Trigger};
use serde_json::json;

use super::crash::{nonce, remove};
use super::guest::{ran_with, run_step, show_step, value};
use super::{Error, PATIENCE, prove};
use crate::cell::Cell;
use crate::chroot;
use crate::debian_root;
use crate::disk::{Disk, TARGET};
use crate::dump;
use crate::lab::{self, Lab, Watch};
use crate::outcome::Evidence;
use crate::process;
use crate::qemu::{End, Qemu};

/// The number of boots.
const BOOTS: &str = "/e2e/boots";
const CRASH_LOADED: &str = "/sys/kernel/kexec_crash_loaded";
const COMMAND_LINE: &str = "/proc/cmdline";
/// Where kdump-tools saves.
const DUMPS: &str = "/var/crash";
/// What only our purgatory prints, in every reboot by kexec and before the capture kernel.
const PURGATORY: &str = "purgatory: verified ";

/// Counts the boot and runs its chapter. `Wants=` what the usual target would start.
const UNIT: &str = "\
[Unit]
Description=A chapter of the end-to-end scenario
# What shuts down is run by it, and is to end by itself.
DefaultDependencies=no
Wants=basic.target
After=basic.target kdump-tools.service

[Service]
Type=oneshot
ExecStartPre=/bin/sh -c 'n=$(($(cat /e2e/boots) + 1)); echo $n > /e2e/boots; cp /e2e/$n.json /e2e/steps.json'
ExecStart=/e2e/guest
";
const UNIT_NAME: &str = "chapter.service";

/// The machine: a system is larger than an initramfs.
pub fn machine(cell: &mut Cell) {
    cell.memory = 1024;
    cell.crashkernel = Some("256M".into());
    cell.append = root_words("chapter=first");
}

/// What every kernel of the story is told, and how it was started. Kernels give up if the timer does
/// not tick in time when they test it, as on a busy host.
fn root_words(how: &str) -> String {
    format!("root={TARGET} rw systemd.unit={UNIT_NAME} systemd.show_status=0 no_timer_check {how}")
}

/// Boots twice and panics; returns what was seen.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let nonce = nonce();
    let root = folder.join("root");
    let initrd = system(lab, cell, &root, &nonce)?;
    let disk = Disk::with_files(&folder.join("disk.img"), 1536, &root)?;
    fs::remove_dir_all(&root).map_err(|source| Error::File { path: root.clone(), source })?;

    let mut evidence = Evidence::new();
    let mut qemu = lab.start(cell, &folder, &initrd, Some(&disk), Watch::Plain)?;
    chapter_begins(&mut qemu, 1, "chapter=first")?;
    kdump_config(&mut qemu, &mut evidence)?;
    ran_with(&mut qemu, "systemctl-kexec", 0)?;
    qemu.serial.wait_for(PURGATORY, PATIENCE)?;
    chapter_begins(&mut qemu, 2, "chapter=systemctl")?;
    qemu.serial.wait_for("e2e: panic sysrq", PATIENCE)?;
    qemu.serial.wait_for(PURGATORY, PATIENCE)?;
    let end = qemu.wait_end(PATIENCE)?;
    prove(end == End::Reset, || format!("after the panic the machine ended by {end:?}"))?;
    saved(&disk, &folder, &nonce, &mut evidence)?;
    remove(&disk.image)?;
    Ok(evidence)
}

/// The counter on the disk and the command line that this boot must have.
fn chapter_begins(qemu: &mut Qemu, number: u32, how: &str) -> Result<(), Error> {
    let boots = value(qemu, &format!("e2e: show {BOOTS} "))?;
    prove(boots == number.to_string(), || format!("this is boot {boots}, not {number}"))?;
    let line = value(qemu, &format!("e2e: show {COMMAND_LINE} "))?;
    prove(line.split(' ').any(|word| word == how), || {
        format!("boot {number} has no {how} on its command line: {line}")
    })
}

/// Chapter 1: kdump-tools' own command, after its unit has loaded a capture kernel at boot.
fn kdump_config(qemu: &mut Qemu, evidence: &mut Evidence) -> Result<(), Error> {
    for (name, _, says, loaded) in STORY {
        let said = ran_with(qemu, name, 0)?.output.join("\n");
        prove(said.contains(says), || format!("{name} does not say {says:?}:\n{said}"))?;
        let is_loaded = value(qemu, &format!("e2e: show {CRASH_LOADED} "))?;
        prove(is_loaded == loaded, || {
            format!("after {name} {CRASH_LOADED} is {is_loaded}, not {loaded}:\n{said}")
        })?;
        evidence.insert(name.into(), json!(said.lines().collect::<Vec<_>>()));
    }
    Ok(())
}

/// What is run, what it must say, and whether a capture kernel is loaded after it.
const STORY: [(&str, &[&str], &str, &str); 6] = [
    ("version", &["/sbin/kexec", "--version"], "kexec (purgatorio) ", "1"),
    ("status", &["kdump-config", "status"], ": ready to kdump", "1"),
    ("unload", &["kdump-config", "unload"], "unloaded kdump kernel", "0"),
    ("test", &["kdump-config", "test"], "/sbin/kexec -p --command-line=", "0"),
    ("load", &["kdump-config", "load"], "loaded kdump kernel", "1"),
    ("show", &["kdump-config", "show"], "ready to kdump", "1"),
];

/// The chapters' scripts.
fn chapters(nonce: &str) -> [Script; 2] {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let begin = [show_step(BOOTS), show_step(COMMAND_LINE)];
    let mut first = begin.to_vec();
    for (name, argv, ..) in STORY {
        first.extend([run_step(name, words(argv)), show_step(CRASH_LOADED)]);
    }
    // There is no EFI system partition: /boot has the boot loader's entries.
    let kexec =
        ["env", "SYSTEMD_ESP_PATH=/boot", "SYSTEMD_RELAX_ESP_CHECKS=1", "systemctl", "kexec"];
    first.push(run_step("systemctl-kexec", words(&kexec)));
    let mut second = begin.to_vec();
    second.extend([
        Step::Nonce { text: nonce.to_owned() },
        Step::Panic { trigger: Trigger::Sysrq, cpu: 0 },
    ]);
    [first, second].map(|steps| Script { steps })
}

/// Installs the system in `root`; returns the initrd that its own tools made.
fn system(lab: &Lab, cell: &Cell, root: &Path, nonce: &str) -> Result<PathBuf, Error> {
    let (debian, _) = lab.debian_root(cell.arch)?;
    debian_root::copy(&debian, root).map_err(lab::Error::from)?;
    let package = lab.package(cell.arch)?;
    debian_root::install(root, &[&package]).map_err(lab::Error::from)?;
    let release = cell.kernel.release();
    let initrd = install_kernel(cell, root, &release)?;

    let write = |path: &str, text: String| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| Error::File { path, source })
    };
    let options = root_words("chapter=systemctl");
    write(
        "boot/loader/entries/debian.conf",
        format!(
            "title Debian\nlinux /vmlinuz-{release}\ninitrd /initrd.img-{release}\n\
             options console=ttyS0 crashkernel=256M panic=-1 {options}\n",
        ),
    )?;
    write("etc/fstab", format!("{TARGET} / ext4 defaults 0 0\n"))?;
    write(&format!("etc/systemd/system/{UNIT_NAME}"), UNIT.into())?;
    write("e2e/boots", "0\n".into())?;
    for (number, script) in (1..).zip(chapters(nonce)) {
        let json = serde_json::to_string(&script).map_err(crate::first_boot::Error::from);
        write(&format!("e2e/{number}.json"), json.map_err(lab::Error::from)?)?;
    }
    let guest = lab.programs(cell.arch)?.guest;
    fs::copy(&guest, root.join("e2e/guest"))
        .map_err(|source| Error::File { path: guest, source })?;
    Ok(initrd)
}

/// Kernel and initrd as their packages leave them; the initrd is made by kdump-tools' own hook, and
/// serves every boot.
fn install_kernel(cell: &Cell, root: &Path, release: &str) -> Result<PathBuf, Error> {
    let tool = |command: &mut Command| process::output(command).map_err(lab::Error::from);
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::write(&path, text).map_err(|source| Error::File { path, source })
    };
    let packaged = cell.kernel.image.parent().unwrap_or(&cell.kernel.image);
    tool(Command::new("cp").arg("--archive").arg(packaged.join(".")).arg(root.join("boot")))?;
    let modules = root.join("lib/modules");
    fs::create_dir_all(&modules).map_err(|source| Error::File { path: modules.clone(), source })?;
    tool(Command::new("cp").arg("--archive").arg(&cell.kernel.modules).arg(&modules))?;
    // Otherwise the hook asks for the modules that the root file system's devices have here.
    write("etc/initramfs-tools/conf.d/modules", "MODULES=list\n")?;
    write("etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\n")?;
    let run = |program: &str, arguments: &[&str]| {
        chroot::run(root, program, arguments).map_err(lab::Error::from)
    };
    run("depmod", &[release])?;
    run("/etc/kernel/postinst.d/kdump-tools", &[release])?;
    // What is loaded from the disk is in the initrd: nothing waits for other drivers.
    let unused = modules.join(release);
    fs::remove_dir_all(&unused).map_err(|source| Error::File { path: unused, source })?;
    // Otherwise `kdump-config load` makes the initrd anew, in a machine that is slow.
    run("cp", &["/etc/kdump/sysctl.conf", &format!("/var/lib/kdump/latest_sysctls-{release}")])?;
    let link = format!("/boot/initrd.img-{release}");
    run("ln", &[&format!("/var/lib/kdump/initrd.img-{release}"), &link])?;
    let initrd = root.with_file_name("initrd");
    let made = root.join(link.trim_start_matches('/'));
    fs::copy(&made, &initrd).map_err(|source| Error::File { path: made, source })?;
    Ok(initrd)
}

/// What kdump-tools saved in the capture kernel that ours started: makedumpfile finds the nonce in
/// the log of the dump.
fn saved(disk: &Disk, folder: &Path, nonce: &str, evidence: &mut Evidence) -> Result<(), Error> {
    // Its name is the date.
    let names = disk.list(DUMPS)?;
    let saved = names.iter().find(|name| name.starts_with('2'));
    let saved = saved.ok_or_else(|| {
        Error::Proof(format!("kdump-tools saved nothing: {DUMPS} has {}", names.join(", ")))
    })?;
    let flat = folder.join("dump.flat");
    disk.copy_out(&format!("{DUMPS}/{saved}/dump.{saved}"), &flat)?;
    let dump = dump::reassembled(&flat)?;
    let log = dump::kernel_log(&dump)?;
    prove(log.contains(&format!("nonce {nonce}")), || {
        format!("the log of {} does not have the nonce {nonce}", dump.display())
    })?;
    evidence.insert("saved_by_kdump_tools".into(), json!(format!("{DUMPS}/{saved}")));
    remove(&flat)?;
    remove(&dump)
}
