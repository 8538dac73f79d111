//! `--dry-run`: the plan for a captured machine, without privileges and without a real kernel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    kernels,
    program::{Run, debian_sysroot, kexec},
};

/// "Crash kernel" of the captured machine's /proc/iomem, as `[start, end)`.
fn crash_region() -> (u64, u64) {
    let iomem = fs::read_to_string(debian_sysroot().join("proc/iomem")).unwrap();
    let line = iomem.lines().find(|line| line.ends_with("Crash kernel")).unwrap();
    let (start, rest) = line.trim().split_once('-').unwrap();
    let (last, _) = rest.split_once(' ').unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    (number(start), number(last) + 1)
}

fn dry_run(kernel: &[u8], options: &[&str]) -> Run {
    dry_run_on(&debian_sysroot(), kernel, options)
}

/// The same on another captured machine.
pub fn dry_run_on(sysroot: &Path, kernel: &[u8], options: &[&str]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &[u8]| -> PathBuf { write(&directory, name, content) };
    let kernel = path("kernel", kernel);
    let initrd = path("initrd", &[0x77; 10_000]);
    kexec(
        ["--dry-run", "--sysroot"]
            .into_iter()
            .map(PathBuf::from)
            .chain([sysroot.to_owned(), "--initrd".into(), initrd, kernel])
            .chain(options.iter().map(PathBuf::from)),
    )
}

fn dry_run_without_initrd(kernel: &[u8], options: &[&str]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let kernel = write(&directory, "kernel", kernel);
    let sysroot = [PathBuf::from("--sysroot"), debian_sysroot()];
    let options = options.iter().map(PathBuf::from);
    kexec(["--dry-run".into()].into_iter().chain(sysroot).chain(options).chain([kernel]))
}

fn write(directory: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The segments as (what, start, end).
pub fn segments(plan: &Value) -> Vec<(String, u64, u64)> {
    let segment = |value: &Value| {
        let address = value["address"].as_str().unwrap().strip_prefix("0x").unwrap();
        let start = u64::from_str_radix(address, 16).unwrap();
        let end = start + value["memsz"].as_u64().unwrap();
        (value["what"].as_str().unwrap().to_owned(), start, end)
    };
    plan["segments"].as_array().unwrap().iter().map(segment).collect()
}

fn names(plan: &Value) -> Vec<String> {
    segments(plan).into_iter().map(|(what, _, _)| what).collect()
}

#[test]
fn a_crash_plan_is_inside_the_reserved_memory() {
    let plan = dry_run(&kernels::bzimage(), &["-p", "--append=quiet", "--format=json"]).json();
    assert_eq!(plan["system_call"], "kexec_load");
    assert_eq!(plan["target"], "crash");
    assert_eq!(plan["entry_mode"], "direct");

    let (region_start, region_end) = crash_region();
    let mut free_from = region_start;
    for (what, start, end) in segments(&plan) {
        assert!(free_from <= start && end <= region_end, "{what} at {start:#x}-{end:#x}");
        free_from = end;
    }
    for what in ["kernel", "initrd", "boot_params", "elfcorehdr", "purgatory"] {
        assert!(names(&plan).iter().any(|name| name == what), "{what} is missing in {plan}");
    }
    let command_line = plan["command_line"].as_str().unwrap();
    assert!(command_line.starts_with("quiet"), "{command_line}");
    assert!(command_line.contains(" elfcorehdr="), "{command_line}");
}

#[test]
fn a_reboot_plan_is_direct_too_and_has_no_core_headers() {
    let plan = dry_run(&kernels::bzimage(), &["-l", "--format=json"]).json();
    assert_eq!(plan["target"], "reboot");
    assert_eq!(plan["entry_mode"], "direct");
    assert_eq!(plan["bases"]["random"], false);
    assert!(plan["bases"]["reason"].as_str().unwrap().contains("no relocation table"), "{plan}");
    assert!(!names(&plan).iter().any(|name| name == "elfcorehdr"), "{plan}");
    assert_eq!(plan["command_line"], "");
}

/// RHEL 6 and Debian 7: the header does not say that the kernel is a 64-bit one.
#[test]
fn an_old_bzimage_is_started_by_its_decompressor() {
    let mut kernel = kernels::bzimage_of(&kernels::vmlinux(), 0, 0x20_0000);
    kernel[0x206..0x208].copy_from_slice(&0x020a_u16.to_le_bytes());
    for target in ["-l", "-p"] {
        let plan = dry_run(&kernel, &[target, "--format=json"]).json();
        assert_eq!(plan["entry_mode"], "bzimage32", "{target}");
    }
}

#[test]
fn what_follows_a_vmlinux_file_is_not_always_a_table() {
    for (what, tail) in
        [("padding", vec![0; 512]), ("words", vec![0; 12]), ("text", vec![b'x'; 77])]
    {
        let kernel = [kernels::vmlinux(), tail].concat();
        let plan = dry_run(&kernel, &["-l", "--args-linux", "--format=json"]).json();
        assert_eq!(plan["bases"]["random"], false, "{what}");
        let reason = plan["bases"]["reason"].as_str().unwrap();
        assert!(reason.contains("no relocation table follows the kernel"), "{what}: {reason}");
    }
}

#[test]
fn what_the_addresses_are_is_said_and_why() {
    let kernel = kernels::bzimage_i386();
    let bases = |options: &[&str]| {
        dry_run(&kernel, &[&["-l", "--format=json"], options].concat()).json()["bases"].clone()
    };
    let random = bases(&[]);
    assert_eq!((&random["random"], &random["reason"]), (&json!(true), &json!(null)));
    let number = |key: &str| {
        let text = random[key].as_str().unwrap().strip_prefix("0x").unwrap();
        u64::from_str_radix(text, 16).unwrap()
    };
    assert_eq!(number("virtual"), 0xc000_0000 + number("physical"));
    let fixed = bases(&["--append=quiet nokaslr"]);
    assert_eq!((&fixed["random"], &fixed["physical"]), (&json!(false), &json!("0x1000000")));
    let reason = fixed["reason"].as_str().unwrap();
    assert!(reason.contains("nokaslr"), "{reason}");

    // What takes memory away from the kernel is left to the decompressor.
    let plan = dry_run(&kernel, &["-l", "--format=json", "--append=mem=512M"]).json();
    assert_eq!((&plan["entry_mode"], &plan["bases"]), (&json!("bzimage32"), &json!(null)));
    let table = dry_run(&kernel, &["-l"]).stdout;
    assert!(table.contains("random (KASLR)"), "{table}");

    // Above the addresses that KASLR gives is better than nowhere.
    let high = bases(&["--mem-min=0x20000000"]);
    assert_eq!(high["random"], true);
}

#[test]
fn every_kind_of_kernel_file_is_planned() {
    let compressed = kernels::lz4_legacy(&kernels::bzimage());
    let compressed_elf = kernels::lz4_legacy(&kernels::vmlinux());
    let cases: &[(&[u8], &[&str], &str)] = &[
        (&kernels::bzimage(), &["-p"], "direct"),
        (&kernels::bzimage(), &["-p", "--entry-mode=bzimage"], "bzimage64"),
        (&kernels::bzimage(), &["-p", "--entry-32bit"], "bzimage32"),
        (&kernels::bzimage(), &["-l", "--entry-mode=direct"], "direct"),
        (&kernels::vmlinux(), &["-p"], "direct"),
        (&kernels::vmlinux(), &["-l", "--args-linux"], "direct"),
        (&compressed, &["-p"], "direct"),
        (&compressed_elf, &["-p"], "direct"),
    ];
    for (kernel, options, entry_mode) in cases {
        let run = dry_run(kernel, &[options, &["--format=json"][..]].concat());
        assert_eq!(run.json()["entry_mode"], *entry_mode, "{options:?}");
    }
}

#[test]
fn a_payload_that_cannot_be_unpacked_makes_auto_fall_back() {
    let mut kernel = kernels::bzimage();
    let payload = kernel.windows(4).position(|four| four == [0x02, 0x21, 0x4c, 0x18]).unwrap();
    kernel[payload] ^= 0xff;
    let plan = dry_run(&kernel, &["-p", "--format=json"]).json();
    assert_eq!(plan["entry_mode"], "bzimage64");
    assert!(plan["entry_reason"].is_string(), "{plan}");
    dry_run(&kernel, &["-p", "--entry-mode=direct"]).assert_fails(255, &["kernel"]);
}

#[test]
fn a_uefi_machine_is_planned_with_and_without_its_runtime_services() {
    let boot_params_size = |options: &[&str]| {
        let machine = debian_sysroot().with_file_name("sysroot-x86_64-debian-6.1-uefi");
        let sysroot = format!("--sysroot={}", machine.display());
        // The last --sysroot counts.
        let options = [options, &["-l", "--format=json", &sysroot]].concat();
        let plan = dry_run(&kernels::bzimage(), &options).json();
        let segments = plan["segments"].as_array().unwrap();
        let params = segments.iter().find(|segment| segment["what"] == "boot_params").unwrap();
        params["bufsz"].as_u64().unwrap()
    };
    // The EFI runtime map goes behind boot_params.
    assert!(boot_params_size(&[]) > boot_params_size(&["--noefi"]));
}

#[test]
fn without_checks_nothing_is_digested() {
    let digested = |options: &[&str]| {
        let plan = dry_run(&kernels::bzimage(), &[options, &["-p", "--format=json"]].concat());
        let plan = plan.json();
        plan["segments"].as_array().unwrap().iter().any(|segment| !segment["sha256"].is_null())
    };
    assert!(digested(&[]));
    assert!(!digested(&["-i"]));
}

#[test]
fn the_running_kernel_s_command_line_is_reused() {
    let running = fs::read_to_string(debian_sysroot().join("proc/cmdline")).unwrap();
    assert!(running.contains("crashkernel="), "the captured machine has a reservation");
    let line = |options: &[&str]| {
        let run = dry_run(&kernels::bzimage(), &[options, &["--format=json"]].concat());
        run.json()["command_line"].as_str().unwrap().to_owned()
    };
    let reused = line(&["-p", "--reuse-cmdline", "--append=more"]);
    assert!(!reused.contains("crashkernel="), "{reused}");
    assert!(reused.contains(" more"), "{reused}");
    assert_eq!(line(&["-l", "--reuse-cmdline"]), running.trim_end());
}

#[test]
fn the_table_is_readable() {
    let run = dry_run(&kernels::bzimage(), &["-p", "--command-line=console=ttyS0"]);
    let table = &run.assert_succeeds().stdout;
    for part in ["kexec_load, to start on a panic", "purgatory", "initrd", "KiB", "console=ttyS0"] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
}

#[test]
fn kexec_file_load_is_shown_as_files_and_warns_of_what_it_cannot_do() {
    let run = dry_run(
        &kernels::bzimage(),
        &["-p", "-s", "-i", "--serial=ttyS0", "--append=quiet", "--format=json"],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let plan: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(plan["system_call"], "kexec_file_load");
    assert_eq!(plan["command_line"], "quiet");
    for option in ["--no-checks", "--serial"] {
        assert!(run.stderr.contains(&format!("warning: {option} has no effect")), "{run:?}");
    }
    assert_eq!(run.stderr.lines().count(), 2, "{run:?}");
}

#[test]
fn what_the_kernel_is_not_told_is_warned_about() {
    let warned = |kernel: &[u8], options: &[&str], warning: &str| {
        let run = dry_run_without_initrd(kernel, options);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stderr.contains(warning), "{run:?}");
    };
    warned(&kernels::bzimage(), &["-l", "--args-elf"], "--args-* has no effect: the kernel is");
    let program = kernels::vmlinux();
    let without_line = "with --args-none the kernel gets no command line";
    warned(&program, &["-l", "--args-none", "--append=quiet"], without_line);
}

#[test]
fn an_embedded_command_line_must_be_text_unless_another_is_given() {
    let kernel = kernels::uki(&[(b".linux", &kernels::bzimage()), (b".cmdline", b"quiet\xff")]);
    dry_run(&kernel, &["-l"]).assert_fails(255, &["kernel", ".cmdline", "--append"]);
    let plan = dry_run(&kernel, &["-l", "--append=quiet", "--format=json"]).json();
    assert_eq!(plan["command_line"], "quiet");
    let kernel = kernels::uki(&[(b".linux", &kernels::bzimage()), (b".cmdline", b"root=/dev/vda")]);
    let plan = dry_run(&kernel, &["-l", "--format=json"]).json();
    assert_eq!(plan["command_line"], "root=/dev/vda");
}

#[test]
fn debug_says_what_was_decided() {
    let run = dry_run(&kernels::bzimage(), &["-p", "-d"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.lines().all(|line| line.starts_with("kexec: ")), "{run:?}");
    assert!(run.stderr.contains("unpacked"), "{run:?}");
}

#[test]
fn what_only_kexec_load_can_is_said_with_why_it_is_not_used() {
    let machine = tempfile::tempdir().unwrap();
    fs::create_dir_all(machine.path().join("proc")).unwrap();
    fs::write(machine.path().join("proc/cmdline"), "quiet kho=on\n").unwrap();
    let sysroot = format!("--sysroot={}", machine.path().display());
    let run = dry_run(&kernels::bzimage(), &["-l", "--dtb=tree", &sysroot]);
    run.assert_fails(255, &["--dtb needs kexec_load (-c)", "kho=on"]);

    // A crash kernel gets nothing that was kept.
    let kexec_sysfs = machine.path().join("sys/kernel");
    fs::create_dir_all(&kexec_sysfs).unwrap();
    fs::write(kexec_sysfs.join("kexec_crash_size"), "268435456\n").unwrap();
    let run = dry_run(&kernels::bzimage(), &["-p", "--dtb=no-such-tree", &sysroot]);
    run.assert_fails(255, &["no-such-tree"]);
}

#[test]
fn kexec_file_load_needs_only_the_command_line_of_the_running_kernel() {
    let machine = tempfile::tempdir().unwrap();
    fs::create_dir_all(machine.path().join("proc")).unwrap();
    fs::write(machine.path().join("proc/cmdline"), "BOOT_IMAGE=/vmlinuz quiet\n").unwrap();
    let sysroot = format!("--sysroot={}", machine.path().display());
    let run = dry_run(&kernels::bzimage(), &["-l", "-s", "--reuse-cmdline", &sysroot]);
    assert!(run.assert_succeeds().stdout.contains("command line, 5 bytes:\n  quiet\n"), "{run:?}");
}
