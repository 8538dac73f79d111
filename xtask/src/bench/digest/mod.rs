//! Purgatory's digest code against the peer's, over the same bytes.
//!
//! Each is a program of its own, compiled as its purgatory is: ours is tests/digest, the peer's is
//! the source of kexec-tools with a main program of ours. [`host`] times them on this CPU, [`guest`]
//! counts what they execute on an emulated one.

pub mod guest;
pub mod host;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::debian::Suite;
use e2e::lab::Lab;
use e2e::{process, programs};
use purgatorio::facts::Arch;

use super::Error;

const PAGE_BYTES: u32 = 4096;

/// What kexec-tools 2.0.25 compiles purgatory's sha256.o with everywhere: its purgatory/Makefile.
const PEER_FLAGS: [&str; 9] = [
    "-Os",
    "-fno-builtin",
    "-ffreestanding",
    "-fno-zero-initialized-in-bss",
    "-fno-PIC",
    "-fno-PIE",
    "-fno-stack-protector",
    "-fno-tree-vectorize",
    "-O2",
];

/// A compiler for `arch`, and what kexec-tools tells it there: its purgatory/arch/*/Makefile.
fn peer_compiler(arch: Arch) -> Option<(&'static str, &'static [&'static str])> {
    match arch {
        Arch::X86_64 => Some(("cc", &["-mcmodel=large"])),
        // A 32-bit libc for the program around it is no package that can stand beside the others.
        Arch::I386 => None,
        Arch::Ppc64le => Some((
            "powerpc64le-linux-gnu-gcc",
            &["-m64", "-msoft-float", "-fno-exceptions", "-mlittle-endian"],
        )),
        Arch::Ppc64 => Some((
            "powerpc64-linux-gnu-gcc",
            &["-m64", "-msoft-float", "-fno-exceptions", "-mcall-aixdesc"],
        )),
    }
}

/// What our program calls the CPU's own instructions.
fn instructions(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 | Arch::I386 => "sha-ni",
        Arch::Ppc64le | Arch::Ppc64 => "vshasigma",
    }
}

/// Writes `bytes` bytes to digest.
fn write_message(path: &Path, bytes: u32) -> Result<(), Error> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        for page in 0..bytes / PAGE_BYTES {
            file.write_all(&e2e_guest::pattern(page.into()))?;
        }
        file.flush()
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Our program for `arch`.
fn our_program(arch: Arch) -> Result<PathBuf, Error> {
    Ok(programs::digest(arch)?)
}

/// The peer's source from Debian, compiled into `folder` as its Makefiles do, with a main program
/// of ours; `None` where we cannot.
fn peer_program(lab: &Lab, arch: Arch, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let Some((compiler, flags)) = peer_compiler(arch) else { return Ok(None) };
    let source = lab.archive(Arch::X86_64, Suite::Bookworm)?.source("kexec-tools")?;
    let main = programs::root().join("xtask/src/bench/digest/peer_digest.c");
    let (object, program) = (folder.join("sha256.o"), folder.join("peer_digest"));
    let compiler = |output: &Path| {
        let mut command = Command::new(compiler);
        command.arg("-I").arg(source.join("util_lib/include")).arg("-o").arg(output);
        command
    };
    let code = source.join("util_lib/sha256.c");
    process::output(compiler(&object).args(flags).args(PEER_FLAGS).arg("-c").arg(code))?;
    // -no-pie: the object is not position-independent. -static: it may run in a guest.
    let linked = ["-O2", "-no-pie", "-static"];
    process::output(compiler(&program).args(linked).arg(&main).arg(&object))?;
    Ok(Some(program))
}
