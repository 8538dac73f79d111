//! The capture kernel's initramfs, made as an operator makes it: with `kdump mkinitrd`.

use std::path::Path;
use std::process::Command;

use crate::disk;
use crate::kernel::Kernel;
use crate::process::{self, Error};

/// What an image is to do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What each target is, `-f`, and where, `-c`.
    pub targets: &'a [(&'a str, &'a str)],
    /// More options.
    pub options: &'a [&'a str],
}

impl Default for Wanted<'_> {
    /// All memory as it is on the harness's own disk: proofs look at it by physical address.
    fn default() -> Self {
        let options = &["--set", "format=elf", "--set", "level=0"];
        Self { targets: &[("ext4", disk::TARGET)], options }
    }
}

/// Makes the capture image of `kernel` at `out` with the host's program `kdump`; `init` is the
/// capture program of the kernel's architecture.
pub fn build(
    kdump: &Path,
    init: &Path,
    kernel: &Kernel,
    wanted: &Wanted<'_>,
    out: &Path,
) -> Result<(), Error> {
    let modules = kernel.modules.parent().unwrap_or(&kernel.modules);
    let mut command = Command::new(kdump);
    command.arg("mkinitrd");
    for (kind, place) in wanted.targets {
        command.args(["-c", place, "-f", kind]);
    }
    command
        .args(wanted.options)
        .arg("-o")
        .arg(out)
        .arg("--init")
        .arg(init)
        .arg("--modules-dir")
        .arg(modules)
        .arg(kernel.release());
    process::output(&mut command).map(drop)
}
