//! `--prepare`: what takes longest of a load is done ahead of it, when a kernel is installed.

use std::path::Path;

use purgatorio::image::Image;

use crate::{
    kernel::{self, KernelError, KernelFile},
    report::Report,
    unpacked::{Keep, Unpacker},
};

/// Keeps the unpacked form of `kernel`, so that loads need not unpack it. There is nothing to do for
/// a kernel that is not packed.
pub fn prepare(kernel: &Path, report: &Report) -> Result<(), KernelError> {
    let unpacker = Unpacker::new(Keep::Always, report);
    match KernelFile::open(kernel, &unpacker)?.image(None)? {
        Image::BzImage(image) => {
            kernel::unpack_payload(&image, kernel, &unpacker)?;
        }
        image @ (Image::Vmlinux(_) | Image::Multiboot(_)) => {
            report.decision(format_args!("{} is loaded as it is", image.kind()));
        }
    }
    Ok(())
}
