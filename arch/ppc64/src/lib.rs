//! The bare-metal purgatory for ppc64: from the dead kernel's jump to the next kernel's first
//! instruction. One source for both byte orders.
//!
//! Everything runs in real mode, where addresses are physical. The images are built for Linux
//! targets without vector and floating-point registers (build.rs), which only the digest uses
//! (`sha256`): it is assembly and switches them on for itself. All code but the entry is in
//! this library; `main.rs` is the image.
#![no_std]
#![cfg(target_arch = "powerpc64")]

mod assembly;
pub mod cache;
pub mod console;
pub mod cpu;
pub mod exceptions;
pub mod firmware;
pub mod handoff;
pub mod hypervisor;
pub mod machine;
mod memory;
pub mod reset;
pub mod sha256;
