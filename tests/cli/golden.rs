//! Plans for captured machines of every architecture, compared with files in tests/golden.
//!
//! After a change that is wanted, write them anew, read the difference, and commit it:
//!
//! ```sh
//! PURGATORIO_WRITE_GOLDEN=1 cargo test --features every-arch --test cli golden
//! ```
//!
//! The kernels are the small ones of [`kernels`]. Left out is what no two builds or runs agree in:
//! how large purgatory's image is and where in it the entry lies depends on the compiler, and the
//! next kernel gets a new random seed each time.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{kernels, plan::dry_run_on, program::fixture};

#[test]
fn x86_64_bios() {
    compare("x86_64", "sysroot-x86_64-debian-6.1", &kernels::bzimage());
}

#[test]
fn x86_64_uefi() {
    compare("x86_64", "sysroot-x86_64-debian-6.1-uefi", &kernels::bzimage());
}

#[test]
fn i386() {
    compare("i386", "sysroot-i386-debian-6.1", &kernels::bzimage_i386());
}

#[test]
fn i386_pae() {
    compare("i386", "sysroot-i386-debian-6.1-pae", &kernels::bzimage_i386());
}

#[test]
fn ppc64le() {
    compare("ppc64le", "sysroot-ppc64le-debian-6.1", &kernels::vmlinux_ppc64(true));
}

#[test]
fn ppc64le_drconf() {
    compare("ppc64le", "sysroot-ppc64le-debian-6.1-drconf", &kernels::vmlinux_ppc64(true));
}

#[test]
fn ppc64() {
    compare("ppc64", "sysroot-ppc64-linux-6.1", &kernels::vmlinux_ppc64(false));
}

/// Plans the load of `kernel` for a crash of the captured `machine`.
#[track_caller]
fn compare(arch: &str, machine: &str, kernel: &[u8]) {
    let arch = format!("--arch={arch}");
    let options = [&arch, "-p", "-c", "--append=console=hvc0 nr_cpus=1", "--format=json"];
    let mut plan = dry_run_on(&fixture(machine), kernel, &options).json();
    leave_out_what_varies(&mut plan);
    let seen = serde_json::to_string_pretty(&plan).unwrap() + "\n";

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/golden").join(format!("{machine}.json"));
    if std::env::var_os("PURGATORIO_WRITE_GOLDEN").is_some() {
        fs::write(&file, seen).unwrap();
        return;
    }
    let golden = fs::read_to_string(&file).unwrap();
    assert_eq!(seen, golden, "{} differs; see the head of tests/cli/golden.rs", file.display());
}

fn leave_out_what_varies(plan: &mut Value) {
    plan["entry"].take();
    for segment in plan["segments"].as_array_mut().unwrap() {
        let varying = match segment["what"].as_str() {
            Some("purgatory") => "bufsz",
            // With the seed.
            Some("boot_params" | "dtb") => "sha256",
            _the_same_each_time => continue,
        };
        segment[varying].take();
    }
}
