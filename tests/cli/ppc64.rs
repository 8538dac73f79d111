//! Plans for captured ppc64 machines.

use serde_json::{Value, json};

use crate::{
    kernels,
    plan::{dry_run_on, segments},
    program::fixture,
};

const MACHINE: &str = "sysroot-ppc64le-debian-6.1";
/// The same with 512 MiB more, plugged in.
const PLUGGED: &str = "sysroot-ppc64le-debian-6.1-drconf";

fn plan(machine: &str, arch: &str, is_little_endian: bool, options: &[&str]) -> Value {
    let arch = format!("--arch={arch}");
    let options = [&[&*arch, "--format=json"], options].concat();
    dry_run_on(&fixture(machine), &kernels::vmlinux_ppc64(is_little_endian), &options).json()
}

fn expected(segments: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    segments.iter().map(|&(what, start, end)| (what.to_owned(), start, end)).collect()
}

#[test]
fn a_crash_plan() {
    for (arch, is_little_endian) in [("ppc64le", true), ("ppc64", false)] {
        let plan = plan(MACHINE, arch, is_little_endian, &["-p", "--append=quiet"]);
        assert_eq!(plan["entry_mode"], "vmlinux");
        // RTAS is above: 0x2fff0000 to 0x2fff083c.
        assert_eq!(
            segments(&plan),
            expected(&[
                ("kernel", 0x2000_0000, 0x2080_0000),
                ("dtb", 0x2ffa_0000, 0x2ffb_0000),
                ("purgatory", 0x2ffb_0000, 0x2ffc_0000),
                ("elfcorehdr", 0x2ffc_0000, 0x2ffd_0000),
                ("backup", 0x2ffd_0000, 0x2ffe_0000),
                ("initrd", 0x2ffe_0000, 0x2fff_0000),
            ])
        );
        assert_eq!(plan["command_line"], "quiet elfcorehdr=786176K");
        assert_eq!(plan["device_tree"]["memory"], json!(["0x0-0x2fffffff"]));
        assert_eq!(
            plan["device_tree"]["reserved"],
            json!([
                "0x2fff0000-0x2fffffff",
                "0x2ffe0000-0x2ffe270f",
                "0x10000-0x1fffffff",
                "0x2ffd0000-0x2ffdffff",
                "0x2ffc0000-0x2ffcffff",
                "0x2ffa0000-0x2ffaffff",
            ])
        );
    }
}

#[test]
fn a_reboot_plan_is_behind_the_running_kernel() {
    let plan = plan(PLUGGED, "ppc64le", true, &["-l", "--append=quiet"]);
    assert_eq!(
        segments(&plan),
        expected(&[
            ("kernel", 0x288_0000, 0x308_0000),
            ("dtb", 0x2ffc_0000, 0x2ffd_0000),
            ("purgatory", 0x2ffd_0000, 0x2ffe_0000),
            ("initrd", 0x2ffe_0000, 0x2fff_0000),
        ])
    );
    // With what was plugged in.
    assert_eq!(plan["device_tree"]["memory"], json!(["0x0-0x9fffffff"]));
}

#[test]
fn the_plan_can_start_from_a_given_device_tree() {
    let dtb = fixture(PLUGGED).join("proc/device-tree.dtb");
    let dtb = format!("--dtb={}", dtb.display());
    let plan = plan(MACHINE, "ppc64le", true, &["-l", &dtb]);
    // The tree's own command line.
    assert_eq!(plan["command_line"], "console=hvc0 crashkernel=256M");
}

#[test]
fn an_initrd_that_was_not_kept_cannot_be_reused() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("vmlinux");
    std::fs::write(&kernel, kernels::vmlinux_ppc64(true)).unwrap();
    let run = crate::program::kexec([
        "--dry-run".into(),
        "--arch=ppc64le".into(),
        "--reuseinitrd".into(),
        "--sysroot".into(),
        fixture(MACHINE),
        "-l".into(),
        kernel,
    ]);
    run.assert_fails(255, &["retain_initrd"]);
}

#[test]
fn kexec_file_load_has_no_place_for_a_device_tree() {
    let options = ["--arch=ppc64le", "-l", "-s", "--dtb=/dev/null"];
    dry_run_on(&fixture(MACHINE), &kernels::vmlinux_ppc64(true), &options)
        .assert_fails(255, &["--dtb needs kexec_load"]);
}

#[test]
fn other_kernels_and_trees_are_refused() {
    dry_run_on(&fixture(MACHINE), &kernels::vmlinux(), &["--arch=ppc64le", "-p"])
        .assert_fails(255, &["e_machine 62", "ppc64"]);
    let options = ["--arch=ppc64le", "-l", "--dtb=/dev/null"];
    dry_run_on(&fixture(MACHINE), &kernels::vmlinux_ppc64(true), &options)
        .assert_fails(255, &["/dev/null"]);
}
