//! What the targets share: hostile files for parsers that open files, and a limit for memory.
//!
//! The targets themselves are in `targets/`, one for each parser; docs/reliability.md has the list.

pub mod core;
mod limit;
pub mod tree;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory.
pub struct HostileFile {
    /// Open for reading and writing.
    pub file: File,
}

impl HostileFile {
    /// With this content.
    pub fn new(content: &[u8]) -> Self {
        let file = memfd_create("hostile", MemfdFlags::CLOEXEC).expect("a file in memory");
        let mut file = File::from(file);
        file.write_all(content).expect("room for an input");
        Self { file }
    }

    /// By which this process can open it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}
