//! What runs in the capture kernel, from `/init` to the dump on disk.
//!
//! [`supervisor`] is process 1: it starts the [`worker`], which saves the dump, and ends in a
//! reboot whatever becomes of it. The worker [loads modules](kernel_modules), opens the first
//! [target] that it can, reads the dead kernel's [log](printk) and [memory](vmcore), and
//! [writes](dump) both with a [manifest].
//!
//! The same program loads the capture kernel [early] in the first kernel's initrd.

// Only the mapping of /proc/vmcore (vmcore/window.rs) needs unsafe code.
#![deny(unsafe_code)]

pub mod address;
pub mod block;
pub mod capture_command_line;
pub mod config;
pub mod console;
pub mod dump;
pub mod early;
pub mod filter;
pub mod format;
pub mod journal;
pub mod kernel_modules;
pub mod manifest;
pub mod memory;
pub mod mount;
pub mod net;
pub mod printk;
pub mod rehearsal;
mod spare;
pub mod supervisor;
pub mod target;
pub mod timeline;
pub mod vmcore;
pub mod watchdog;
pub mod worker;

#[cfg(test)]
mod test_core;
