//! Runs cargo inside the build: a purgatory image is for another target, with other flags.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// One purgatory image.
pub struct Image {
    /// Its package and binary.
    pub package: &'static str,
    /// The folder of its linker script `image.ld`.
    pub folder: &'static str,
    /// What it is compiled for.
    pub target: &'static str,
    /// Machines (`target_arch`, `target_endian`) whose loader embeds it.
    pub loaders: &'static [(&'static str, &'static str)],
    /// Variable that tells `loader/embedded.rs` where the file is.
    pub variable: &'static str,
    /// Most bytes that it may take in memory.
    pub size_ceiling: u64,
    /// Flags for the compiler, besides the linker script.
    pub rustflags: &'static [&'static str],
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The compiler has no library for the target.
    #[error("purgatory needs {target}: rustup target add {target}")]
    NoTarget {
        /// The target.
        target: &'static str,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Cargo said why on its own.
    #[error("the nested build failed:\n{output}")]
    Failed {
        /// What it said.
        output: String,
    },
}

/// Builds `image` and returns its file.
pub fn build(image: &Image, workspace: &Path, out_dir: &Path) -> Result<PathBuf, BuildError> {
    check_target(image.target)?;
    let script = workspace.join(image.folder).join("image.ld");
    let mut flags = vec![format!("-Clink-arg=-T{}", script.display())];
    flags.extend(image.rustflags.iter().map(ToString::to_string));

    // A directory of its own: the outer cargo holds the lock of target/.
    let target_dir = out_dir.join("target");
    let mut cargo = command("CARGO", "cargo");
    clean_environment(&mut cargo);
    cargo
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--profile", "purgatory", "--features", "image"])
        .args(["--package", image.package, "--bin", image.package, "--target", image.target])
        .arg("--target-dir")
        .arg(&target_dir);
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    let output = run(&mut cargo)?;
    if !output.status.success() {
        return Err(BuildError::Failed {
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(target_dir.join(image.target).join("purgatory").join(image.package))
}

fn check_target(target: &'static str) -> Result<(), BuildError> {
    let output =
        run(command("RUSTC", "rustc").args(["--print", "target-libdir", "--target", target]))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libraries.is_dir() {
        Ok(())
    } else {
        Err(BuildError::NoTarget { target })
    }
}

/// The program that cargo names in `variable`.
fn command(variable: &str, default: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| default.into()))
}

fn run(command: &mut Command) -> Result<std::process::Output, BuildError> {
    command.output().map_err(|source| BuildError::Run {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

/// Takes away what describes the outer build: its flags, profile and package, and wrappers
/// (clippy's, rust-analyzer's) around the compiler that would check the image and not make it.
/// How cargo reaches its registry and jobserver stays.
fn clean_environment(cargo: &mut Command) {
    const PREFIXES: [&str; 8] = [
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_PROFILE_",
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CLIPPY_",
    ];
    const NAMES: [&str; 12] = [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RA_RUSTC_WRAPPER",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "OPT_LEVEL",
        "DEBUG",
        "PROFILE",
        "NUM_JOBS",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
}
