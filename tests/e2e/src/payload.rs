//! Payload kernels (tests/payloads), built with the host's C compiler: independent of our loader.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::programs;

/// How one is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its name.
    pub name: &'static str,
    /// 32 or 64.
    pub bits: u8,
    /// The file that prints what the protocol hands over.
    pub protocol: &'static str,
    /// What is defined for its assembly.
    pub defines: &'static [&'static str],
    /// The linker's script.
    pub script: &'static str,
    /// A bare copy of what is in memory, not an ELF file.
    pub is_flat: bool,
}

/// What a program for no operating system needs; the registers that it uses are those that it
/// finds enabled.
const FLAGS: [&str; 15] = [
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-pic",
    "-no-pie",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
    "-static",
    "-nostdlib",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-Wl,--no-warn-rwx-segments",
];

impl Payload {
    /// Builds it in `folder`; the answer is the kernel's file.
    pub fn build(&self, folder: &Path) -> Result<PathBuf, process::Error> {
        let sources = programs::root().join("tests/payloads");
        let elf = folder.join(format!("{}.elf", self.name));
        let mut compiler = Command::new("gcc");
        compiler
            .arg(format!("-m{}", self.bits))
            .args(FLAGS)
            .args(self.defines.iter().map(|define| format!("-D{define}")))
            .arg(format!("-Wl,-T,{}", sources.join(self.script).display()))
            .args(["entry.S", "report.c", self.protocol].map(|file| sources.join(file)))
            .arg("-o")
            .arg(&elf);
        process::output(&mut compiler)?;
        if !self.is_flat {
            return Ok(elf);
        }
        let flat = folder.join(format!("{}.bin", self.name));
        process::output(Command::new("objcopy").args(["-O", "binary"]).arg(&elf).arg(&flat))?;
        Ok(flat)
    }
}
