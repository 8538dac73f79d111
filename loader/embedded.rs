//! The purgatory images that `build.rs` made for this loader.

use crate::facts::Arch;

/// The purgatory for machines of `arch`: an ELF static PIE for `linker::Image::parse`.
pub fn purgatory_image(arch: Arch) -> &'static [u8] {
    match arch {
        Arch::X86_64 => include_bytes!(env!("PURGATORY_X86_64")),
    }
}
