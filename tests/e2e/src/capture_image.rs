//! The capture kernel's initramfs, made as an operator makes it: with `kdump mkinitrd`.

use std::path::Path;
use std::process::Command;

use crate::disk::LABEL;
use crate::kernel::Kernel;
use crate::process::{self, Error};

/// Makes the capture image of `kernel` at `out` with the host's program `kdump`; `init` is the
/// capture program of the kernel's architecture.
pub fn build(kdump: &Path, init: &Path, kernel: &Kernel, out: &Path) -> Result<(), Error> {
    let modules = kernel.modules.parent().unwrap_or(&kernel.modules);
    process::output(
        Command::new(kdump)
            .args(["mkinitrd", "-c", &format!("LABEL={LABEL}"), "-f", "ext4", "-o"])
            .arg(out)
            .arg("--init")
            .arg(init)
            .arg("--modules-dir")
            .arg(modules)
            .arg(kernel.release()),
    )
    .map(drop)
}
