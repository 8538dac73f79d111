//! Turns a purgatory image (a static PIE) and a parameter block into bytes for one physical
//! address: read ([`Image::parse`]), place and relocate ([`Image::place`]), fill
//! ([`Placed::fill`]).
//!
//! Images of every architecture are handled on any host: class, byte order and machine are the
//! file's. An image is parsed once into an [`Image`]; what was checked then is not checked again.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

mod encode;
mod error;
mod image;
mod place;
mod relocation;
// Its ELF-32 and big-endian images are for this crate's own tests.
#[cfg(any(test, feature = "test-image"))]
#[cfg_attr(not(test), expect(dead_code))]
mod testing;

pub use error::Error;
pub use image::Image;
pub use place::Placed;

/// A small x86_64 image whose code does nothing, for tests of other packages.
#[cfg(feature = "test-image")]
pub fn test_image() -> alloc::vec::Vec<u8> {
    testing::x86_64().file()
}
