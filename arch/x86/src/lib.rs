//! What the bare-metal purgatories for 32-bit and 64-bit PCs share: consoles, exceptions, the
//! digest by SHA instructions, the entry of a kernel in 32-bit protected mode, and the ends.
//! What differs is behind [`Mode`]; `arch/i386` and `arch/x86_64` implement it, and have the entry.
//!
//! The compiler uses no FP or vector register here: the images' targets have none. The one
//! exception is the digest, which is assembly ([`sha_ni`]) and switches SSE on for itself.
//! Everything is a library, so that the host compiles and tests it too.
#![no_std]
#![cfg(any(target_arch = "x86", target_arch = "x86_64"))]

pub mod console;
pub mod control;
pub mod cpu;
pub mod exceptions;
pub mod handoff;
pub mod machine;
pub mod port;
pub mod reset;
pub mod sha_ni;
mod start;
mod string;

pub use machine::Mode;
pub use start::start;
