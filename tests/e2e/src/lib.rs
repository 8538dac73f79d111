//! Boots real Debian kernels in QEMU, makes them panic, and checks what comes out.
//!
//! In reading order: [`setup`] installs what the host lacks, [`debian`] fetches kernels and the
//! peer, [`kernel_build`] makes the kernel that Debian does not have, [`programs`] builds ours; an
//! [`arch`] says how machines differ, a [`cell`] what to boot; [`first_boot`] makes the first
//! kernel's initramfs with a script for the guest program, and [`initramfs_tools`] the one that a
//! Debian system has; [`debian_root`] is such a system, in a folder; [`qemu`] runs the machine; [`disk`] and
//! [`dump`] read what it left; [`phases`] says how long each step took; a [`scenario`] puts these
//! together and reports an [`outcome`]. The [`lab`] is where all of it lies.
#![forbid(unsafe_code)]

pub mod arch;
pub mod capture_image;
pub mod cell;
pub mod chroot;
pub mod debian;
pub mod debian_root;
pub mod disk;
pub mod dump;
pub mod first_boot;
pub mod initramfs_tools;
pub mod kernel;
pub mod kernel_build;
pub mod lab;
pub mod layout;
pub mod loader;
pub mod matrix;
pub mod medium;
pub mod outcome;
pub mod payload;
pub mod phases;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod readers;
pub mod scenario;
pub mod secure_boot;
pub mod server;
pub mod setup;
pub mod trigger_module;
pub mod uki;
