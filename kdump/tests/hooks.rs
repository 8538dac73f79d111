//! The files that distributions' package tools and systemd run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

/// A system that was booted with systemd into kernel 1.2.3, with programs that keep their arguments.
fn system() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["proc/sys/kernel", "run/systemd/system", "var/lib/kdump", "bin"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("proc/sys/kernel/osrelease"), "1.2.3\n").unwrap();
    program(&dir, "kdump", "echo \"kdump $*\" >> \"$0.log\"");
    program(&dir, "systemctl", "exit 0");
    dir
}

fn program(dir: &tempfile::TempDir, name: &str, script: &str) {
    let path = dir.path().join("bin").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a hook on the system and returns what `kdump` was called with.
fn hook(dir: &tempfile::TempDir, name: &str, arguments: &[&str]) -> String {
    let output: Output = Command::new("sh")
        .arg(dist().join("kernel-hooks").join(name))
        .args(arguments)
        .env("KDUMP_ROOT", dir.path())
        .env("KDUMP", dir.path().join("bin/kdump"))
        .env("KDUMP_HOOKS", dist().join("kernel-hooks"))
        .env("PATH", format!("{}:/usr/bin:/bin", dir.path().join("bin").display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(dir.path().join("bin/kdump.log")).unwrap_or_default()
}

#[test]
fn another_kernel_is_prepared_and_the_running_one_loaded_anew() {
    assert_eq!(
        hook(&system(), "postinst", &["2.0.0", "/boot/vmlinuz-2.0.0"]),
        "kdump load --prepare 2.0.0\n"
    );
    assert_eq!(hook(&system(), "postinst", &["1.2.3"]), "kdump load\n");
    assert_eq!(
        hook(&system(), "90-kdump.install", &["add", "2.0.0", "/boot/entry"]),
        "kdump load --prepare 2.0.0\n"
    );
}

#[test]
fn a_stopped_service_stays_stopped() {
    let system = system();
    program(&system, "systemctl", "exit 3");
    assert_eq!(hook(&system, "postinst", &["1.2.3"]), "");
}

#[test]
fn an_installation_of_a_kernel_never_fails_for_kdump() {
    let system = system();
    program(&system, "kdump", "echo \"kdump $*\" >> \"$0.log\"; exit 1");
    assert_eq!(hook(&system, "postinst", &["1.2.3"]), "kdump load\n");
    assert!(hook(&system, "postinst", &["2.0.0"]).ends_with("--prepare 2.0.0\n"));
    fs::remove_dir_all(system.path().join("run/systemd")).unwrap();
    fs::remove_file(system.path().join("bin/kdump.log")).unwrap();
    assert_eq!(hook(&system, "postinst", &["2.0.0"]), "", "a chroot");
    assert_eq!(hook(&system, "postinst", &[]), "");
}

#[test]
fn a_removed_kernel_takes_its_image_along() {
    let system = system();
    let image =
        |release: &str| system.path().join(format!("var/lib/kdump/initramfs-{release}.img"));
    for release in ["1.2.3", "2.0.0", "3.0.0"] {
        fs::write(image(release), "image").unwrap();
    }
    hook(&system, "postrm", &["2.0.0"]);
    hook(&system, "90-kdump.install", &["remove", "3.0.0"]);
    hook(&system, "postrm", &["../../etc/x"]);
    hook(&system, "postrm", &[]);
    assert!(image("1.2.3").exists() && !image("2.0.0").exists() && !image("3.0.0").exists());
}

/// systemd says what is wrong with a unit; the programs that it names need not be here.
#[test]
fn systemd_takes_the_unit() {
    let text = fs::read_to_string(dist().join("systemd/kdump.service")).unwrap();
    assert!(!text.contains("network"), "a dump to a disk must not wait for a network");
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("kdump.service");
    let text = text.replace("/usr/sbin/kdump", "/bin/true");
    let without_manuals: Vec<&str> =
        text.lines().filter(|l| !l.starts_with("Documentation")).collect();
    fs::write(&unit, without_manuals.join("\n") + "\n").unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
    let output = output.expect("systemd-analyze, of the package systemd, is here");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("kdump.service"), "{said}");
}

/// Every jump of the rules has its label, and the service that they reload exists.
#[test]
fn the_rules_of_udev_are_whole() {
    let text = fs::read_to_string(dist().join("udev/98-kdump.rules")).unwrap();
    let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for target in rules.iter().filter_map(|rule| rule.split_once("GOTO=\"")?.1.strip_suffix('"')) {
        assert!(rules.contains(&format!("LABEL=\"{target}\"").as_str()), "{target}");
    }
    let reloads = rules.iter().any(|rule| rule.contains("try-reload-or-restart kdump.service"));
    assert!(reloads && dist().join("systemd/kdump.service").exists());
}
