//! The operator's tool: its [commands], and what they are made of, from initramfs archives and the
//! module tree of a kernel to the capture image made from both.

#![forbid(unsafe_code)]

pub mod capture_kernel;
pub mod commands;
pub mod drivers;
pub mod dump_size;
pub mod early;
pub mod estimate;
pub mod initramfs;
pub mod inspect;
pub mod kernel_image;
pub mod kexec;
pub mod libraries;
pub mod loaded;
pub mod lock;
pub mod machine;
pub mod mkinitrd;
pub mod modules;
pub mod mounts;
pub mod new_file;
pub mod packed;
pub mod prepare;
pub mod rehearse;
pub mod routes;
pub mod saved;
pub mod search_path;
pub mod settings;
pub mod ssh_client;
pub mod status;
