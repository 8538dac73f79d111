//! Bad input: a clear message, the right exit status, never a panic.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    kernels,
    program::{Run, debian_sysroot, kexec, kexec_as_nobody},
};

/// A folder with a good kernel in it, and runs of `kexec --dry-run -p` on files there.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        bench.write("bzImage", &kernels::bzimage());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn plan(&self, kernel: &str, options: &[&str]) -> Run {
        self.plan_on(&debian_sysroot(), kernel, options)
    }

    fn plan_on(&self, machine: &Path, kernel: &str, options: &[&str]) -> Run {
        kexec(
            ["--dry-run", "-p", "--sysroot"]
                .into_iter()
                .map(PathBuf::from)
                .chain([machine.to_owned(), self.path(kernel)])
                .chain(options.iter().map(PathBuf::from)),
        )
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let bench = Bench::new();
    bench.write("empty", b"");
    fs::create_dir(bench.path("directory")).unwrap();
    symlink("/proc/self/mem", bench.path("unreadable")).unwrap();
    for (name, message) in [
        ("missing", "No such file"),
        ("empty", "empty"),
        ("directory", "directory"),
        ("unreadable", "unreadable"),
    ] {
        bench.plan(name, &[]).assert_fails(255, &[message, bench.path(name).to_str().unwrap()]);
        let initrd = bench.path(name).to_str().unwrap().to_owned();
        let option = format!("--initrd={initrd}");
        bench.plan("bzImage", &[&option]).assert_fails(255, &[message, &initrd]);
    }
}

#[test]
fn a_user_without_privileges_gets_a_message_or_a_plan() {
    let bench = Bench::new();
    fs::set_permissions(bench.directory.path(), Permissions::from_mode(0o755)).unwrap();
    let machine = bench.path("machine");
    copy_tree(&debian_sysroot(), &machine);
    let secret = bench.write("secret", &kernels::bzimage());
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();

    let plan = |kernel: PathBuf| {
        let options = ["--dry-run", "-p", "--sysroot"].into_iter().map(PathBuf::from);
        kexec_as_nobody(bench.directory.path(), options.chain([machine.clone(), kernel]))
    };
    plan(secret).assert_fails(255, &["Permission denied", "secret"]);
    plan(bench.path("bzImage")).assert_succeeds();
}

#[test]
fn truncated_kernels_are_refused() {
    let bench = Bench::new();
    for kernel in [kernels::bzimage(), kernels::vmlinux()] {
        for length in (1..kernel.len()).step_by(kernel.len() / 40) {
            bench.write("short", &kernel[..length]);
            bench.plan("short", &[]).assert_fails(255, &["short"]);
        }
    }
    let packed = kernels::lz4_legacy(&kernels::bzimage());
    bench.write("short", &packed[..packed.len() / 2]);
    bench.plan("short", &[]).assert_fails(255, &["short"]);
}

#[test]
fn mutated_kernels_end_in_a_plan_or_a_message() {
    let bench = Bench::new();
    let kernel = kernels::bzimage();
    let mut refused = 0;
    for offset in kernels::HEADER_START..kernels::HEADER_END {
        let mut mutant = kernel.clone();
        mutant[offset] ^= 0xff;
        bench.write("mutant", &mutant);
        let run = bench.plan("mutant", &[]);
        if run.code != 0 {
            run.assert_fails(255, &[]);
            refused += 1;
        }
    }
    assert!(refused > 10, "only {refused} of the header's bytes matter?");
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    let bench = Bench::new();
    bench.write("text", b"#!/bin/sh\nexec kexec -l /boot/vmlinuz\n");
    bench.plan("text", &[]).assert_fails(255, &["not a known kernel format", "text"]);
}

#[test]
fn another_type_than_wanted_is_refused() {
    let bench = Bench::new();
    bench
        .plan("bzImage", &["--type=elf-x86_64"])
        .assert_fails(255, &["a bzImage", "an ELF vmlinux"]);
    bench.plan("bzImage", &["-t", "bzImage64"]).assert_succeeds();
}

#[test]
fn an_initrd_that_does_not_fit_is_told_by_how_much() {
    let bench = Bench::new();
    let initrd = bench.path("initrd");
    File::create(&initrd).unwrap().set_len(300 << 20).unwrap();
    let option = format!("--initrd={}", initrd.display());
    bench
        .plan("bzImage", &[&option])
        .assert_fails(255, &["initrd does not fit", "MiB are missing"]);
}

#[test]
fn an_over_long_command_line_is_told_with_both_lengths() {
    let bench = Bench::new();
    let option = format!("--append={}", "x".repeat(3000));
    bench.plan("bzImage", &[&option]).assert_fails(255, &["command line", "2047", "3"]);
    bench.plan("bzImage", &["--append=quiet"]).assert_succeeds();
}

#[test]
fn without_a_reservation_the_advice_is_crashkernel() {
    let bench = Bench::new();
    let machine = bench.path("machine");
    copy_tree(&debian_sysroot(), &machine);
    fs::write(machine.join("sys/kernel/kexec_crash_size"), "0\n").unwrap();
    bench.plan_on(&machine, "bzImage", &[]).assert_fails(254, &["crashkernel=256M"]);
}

#[test]
fn facts_that_are_not_there_are_named() {
    let bench = Bench::new();
    let machine = bench.path("machine");
    copy_tree(&debian_sysroot(), &machine);
    fs::remove_file(machine.join("proc/iomem")).unwrap();
    bench.plan_on(&machine, "bzImage", &[]).assert_fails(255, &["proc/iomem"]);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        }
    }
}
