//! The loader's core: *a kernel file becomes an image ([`image`]), facts about the machine are
//! read ([`machine`]) into [`facts`], both become a [`plan`] of segments, the plan and a
//! purgatory image are linked, and the kernel takes it ([`sys`]).*
//!
//! Without the `std` feature what remains is the part that needs no operating system: image,
//! facts, plan, ELF core headers, boot_params.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod elfcore;
#[cfg(feature = "embed")]
mod embedded;
pub mod facts;
pub mod fdt;
#[cfg(feature = "std")]
pub mod file;
pub mod image;
#[cfg(feature = "std")]
pub mod kept;
#[cfg(feature = "std")]
pub mod machine;
#[cfg(feature = "options")]
pub mod options;
pub mod plan;
pub mod range;
#[cfg(feature = "std")]
pub mod sys;

#[cfg(feature = "embed")]
pub use embedded::purgatory_image;
