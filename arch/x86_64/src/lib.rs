//! The bare-metal purgatory for x86_64: from the dead kernel's jump to the next kernel's first
//! instruction.
//!
//! The image is built for `x86_64-unknown-none`, whose soft-float ABI keeps the compiler from
//! using any FP or vector register; the one exception is the digest, which is assembly
//! ([`sha_ni`]) and switches SSE on for itself. All code but the entry is in this library, so
//! that the host compiles and tests it too; `main.rs` is the image.
#![no_std]
#![cfg(target_arch = "x86_64")]

pub mod console;
pub mod cpu;
pub mod exceptions;
pub mod handoff;
pub mod machine;
pub mod paging;
pub mod port;
pub mod reset;
pub mod sha_ni;
