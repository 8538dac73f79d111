//! The files that dumps are saved in, as far as their readers and their writers share it.

pub mod flattened;
pub mod kdump;
pub mod page;
