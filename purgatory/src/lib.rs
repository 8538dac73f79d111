//! What purgatory does on any machine, between the kernel that died and the kernel that
//! saves its memory: check by SHA-256 that everything the loader put in place is still
//! intact, save the backup region, and hand over.
//!
//! [`run`] is the whole story in order. The bare-metal part (entry, console ports, reset, the
//! jump) lives in `arch/`, one crate per architecture, behind [`Machine`]; this crate is plain
//! `no_std` Rust that runs and is tested on the host.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod console;
pub mod fault;
mod machine;
pub mod params;
mod run;
pub mod sha256;
mod verify;

pub use machine::Machine;
pub use run::{Next, run};
