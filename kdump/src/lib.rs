//! The operator's tool: its [commands], and what they are made of, from initramfs archives and the
//! module tree of a kernel to the capture image made from both.

#![forbid(unsafe_code)]

pub mod commands;
pub mod drivers;
pub mod initramfs;
pub mod mkinitrd;
pub mod modules;
pub mod new_file;
pub mod packed;
pub mod rehearse;
