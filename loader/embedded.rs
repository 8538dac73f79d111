//! The purgatory images that `build.rs` made for this loader.

use crate::facts::Arch;

/// The purgatory for machines of `arch`, an ELF static PIE for `linker::Image::parse`, or `None`
/// if this loader was built without it: by default it has those that its own machine can enter,
/// with the feature `every-arch` all.
pub fn purgatory_image(arch: Arch) -> Option<&'static [u8]> {
    let image: &[u8] = match arch {
        Arch::X86_64 => include_bytes!(env!("PURGATORY_X86_64")),
        Arch::I386 => include_bytes!(env!("PURGATORY_I386")),
        Arch::Ppc64le => include_bytes!(env!("PURGATORY_PPC64LE")),
        Arch::Ppc64 => include_bytes!(env!("PURGATORY_PPC64")),
    };
    // The file of an image that was not wanted is empty.
    (!image.is_empty()).then_some(image)
}
