//! Builds our own programs: what runs in guests, what is loaded into QEMU, what users get.
//!
//! Programs for guests and users are static, and are built on an x86_64 host for every
//! architecture; a [`Target`] says how.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use purgatorio::facts::Arch;

use crate::process;

/// The architectures that programs are built for.
pub const ARCHITECTURES: [Arch; 4] = [Arch::X86_64, Arch::I386, Arch::Ppc64le, Arch::Ppc64];

/// How the static programs of one architecture are built.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// rustc's name for it.
    pub triple: &'static str,
    /// What links: musl targets bring their own libc and start files, so that the toolchain's
    /// linker is enough.
    pub linker: &'static str,
    /// What compiles the C code of libdeflate and zstd. They want little of a libc, so that the
    /// headers of glibc serve musl too.
    compiler: &'static str,
    /// Its options.
    compiler_flags: &'static str,
    /// Whether rustc must be told to link libc statically: where that is not the default.
    says_static: bool,
}

impl Target {
    /// The target of `arch`.
    pub const fn of(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::musl("x86_64-unknown-linux-musl", "gcc"),
            // Needs SSE2, a Pentium 4: rustup has no musl target for older CPUs.
            Arch::I386 => Self::musl("i686-unknown-linux-musl", "i686-linux-gnu-gcc"),
            // rustup has no musl target.
            Arch::Ppc64le => Self {
                triple: "powerpc64le-unknown-linux-gnu",
                linker: "powerpc64le-linux-gnu-gcc",
                compiler: "powerpc64le-linux-gnu-gcc",
                compiler_flags: "",
                says_static: true,
            },
            Arch::Ppc64 => Self {
                says_static: true,
                // musl has the second ABI; the compiler's headers lack what glibc says of it.
                compiler_flags: "-mabi=elfv2 -idirafter /usr/powerpc64le-linux-gnu/include",
                ..Self::musl("powerpc64-unknown-linux-musl", "powerpc64-linux-gnu-gcc")
            },
        }
    }

    const fn musl(triple: &'static str, compiler: &'static str) -> Self {
        let linker = "rust-lld";
        Self { triple, linker, compiler, compiler_flags: "", says_static: false }
    }

    /// The folder of the programs that [`static_build`] makes with `profile`.
    fn folder(&self, profile: &str) -> PathBuf {
        target().join(self.triple).join(profile)
    }
}

/// The profile of programs for guests and users.
const RELEASE: &str = "release";

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
pub fn guest(arch: Arch) -> Result<PathBuf, Error> {
    let target = Target::of(arch);
    process::output(&mut static_build(&target, RELEASE, &[("e2e-guest", "e2e-init")]))?;
    Ok(target.folder(RELEASE).join("e2e-init"))
}

/// The program that times purgatory's digest code, optimized as purgatory's images are.
pub fn digest(arch: Arch) -> Result<PathBuf, Error> {
    const PROFILE: &str = "purgatory";
    let target = Target::of(arch);
    process::output(&mut static_build(&target, PROFILE, &[("purgatory-digest", "digest")]))?;
    Ok(target.folder(PROFILE).join("digest"))
}

/// The QEMU plugin that counts instructions.
pub fn plugin() -> Result<PathBuf, Error> {
    process::output(cargo().args(["build", "--quiet", "--release", "-p", "e2e-plugin"]))?;
    Ok(target().join("release/libe2e_plugin.so"))
}

/// `kdump` for this host, which makes capture images for every architecture.
pub fn kdump() -> Result<PathBuf, Error> {
    process::output(cargo().args(["build", "--quiet", "--release", "-p", "kdump"]))?;
    Ok(target().join("release/kdump"))
}

/// Static `kexec`, `kdump` and `kdump-capture` in `target/dist/ARCH`; returns the folder.
pub fn dist(arch: Arch) -> Result<PathBuf, Error> {
    let built = Target::of(arch);
    process::output(&mut static_build(&built, RELEASE, &DIST))?;
    let folder = target().join("dist").join(arch.name());
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    for (_, program) in DIST {
        let (to, new) = (folder.join(program), folder.join(format!("{program}.new")));
        // Another run may be reading the old one.
        fs::copy(built.folder(RELEASE).join(program), &new)
            .and_then(|_| fs::rename(&new, &to))
            .map_err(failed(&to))?;
    }
    Ok(folder)
}

/// Our Debian package for `arch`, made by `cargo xtask package`.
pub fn package(arch: Arch) -> Result<PathBuf, Error> {
    let path = process::output(cargo().args(["xtask", "package", "--arch", arch.name()]))?;
    Ok(path.trim().into())
}

/// The version of the QEMU that runs guests.
pub fn qemu_version() -> Result<String, process::Error> {
    // The other QEMU programs are of the same source package.
    let text = process::output(Command::new("qemu-system-x86_64").arg("--version"))?;
    Ok(text.lines().next().unwrap_or("unknown QEMU").replace("emulator version ", ""))
}

/// cargo with the toolchain that runs us, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn static_build(target: &Target, profile: &str, programs: &[(&str, &str)]) -> Command {
    let mut command = cargo();
    let variable = |name: &str| {
        format!("CARGO_TARGET_{}_{name}", target.triple.to_uppercase().replace('-', "_"))
    };
    command
        .args(["build", "--quiet", "--profile", profile, "--target", target.triple])
        .env(variable("LINKER"), target.linker)
        .env(format!("CC_{}", target.triple), target.compiler)
        .env(format!("CFLAGS_{}", target.triple), target.compiler_flags);
    if target.says_static {
        command.env(variable("RUSTFLAGS"), "-Ctarget-feature=+crt-static");
    }
    for (package, program) in programs {
        command.args(["-p", package, "--bin", program]);
    }
    command
}
