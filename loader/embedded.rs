//! The purgatory images that `build.rs` made for this loader.

use crate::facts::Arch;

/// The purgatory for machines of `arch`, an ELF static PIE for `linker::Image::parse`, or `None`
/// if this loader was built without it.
pub fn purgatory_image(arch: Arch) -> Option<&'static [u8]> {
    match arch {
        Arch::X86_64 => Some(include_bytes!(env!("PURGATORY_X86_64"))),
        Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => None,
    }
}
