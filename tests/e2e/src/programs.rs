//! Builds our own programs: what runs in guests, what is loaded into QEMU, what users get.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The target of static programs.
pub const MUSL: &str = "x86_64-unknown-linux-musl";
/// What a user gets: package and program.
const DIST: [(&str, &str); 3] =
    [("purgatorio", "kexec"), ("kdump", "kdump"), ("capture", "kdump-capture")];

/// A program that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// cargo failed.
    #[error(transparent)]
    Build(#[from] process::Error),
    /// A built program could not be put in its place.
    #[error("{path}: cannot write")]
    Write {
        /// Where it should go.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Where everything that is made goes.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The guest program: `/init` of the first kernel.
pub fn guest() -> Result<PathBuf, Error> {
    process::output(&mut static_build(&[("e2e-guest", "e2e-init")]))?;
    Ok(target().join(MUSL).join("release/e2e-init"))
}

/// The QEMU plugin that counts instructions.
pub fn plugin() -> Result<PathBuf, Error> {
    process::output(cargo().args(["build", "--quiet", "--release", "-p", "e2e-plugin"]))?;
    Ok(target().join("release/libe2e_plugin.so"))
}

/// Static `kexec`, `kdump` and `kdump-capture` in `target/dist/x86_64`; returns the folder.
pub fn dist() -> Result<PathBuf, Error> {
    process::output(&mut static_build(&DIST))?;
    let folder = target().join("dist/x86_64");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    for (_, program) in DIST {
        let (to, new) = (folder.join(program), folder.join(format!("{program}.new")));
        // Another run may be reading the old one.
        fs::copy(target().join(MUSL).join("release").join(program), &new)
            .and_then(|_| fs::rename(&new, &to))
            .map_err(failed(&to))?;
    }
    Ok(folder)
}

/// cargo with the toolchain that runs us, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The musl target brings its own libc and start files, so the toolchain's linker is enough and no
/// C compiler is called.
fn static_build(programs: &[(&str, &str)]) -> Command {
    let mut command = cargo();
    command
        .args(["build", "--quiet", "--release", "--target", MUSL])
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
    for (package, program) in programs {
        command.args(["-p", package, "--bin", program]);
    }
    command
}
