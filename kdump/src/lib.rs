//! Building blocks of the operator's tool: initramfs archives, the module tree of a kernel, and
//! the capture image made from both.

#![forbid(unsafe_code)]

pub mod drivers;
pub mod initramfs;
pub mod libraries;
pub mod mkinitrd;
pub mod modules;
pub mod routes;
pub mod ssh_client;
