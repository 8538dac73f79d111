//! With the feature `embed`: builds the purgatory images that the target being built needs,
//! audits them, and embeds them; `loader/embedded.rs` includes the files named by the variables
//! set here.
//!
//! One more architecture is one more entry of [`IMAGES`], its crate in arch/, and its machine
//! code's rules in build/audit.rs.

#[path = "build/audit.rs"]
mod audit;
#[path = "build/nested.rs"]
mod nested;

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs, process};

use nested::Image;

const IMAGES: &[Image] = &[Image {
    package: "purgatory-x86_64",
    folder: "arch/x86_64",
    target: "x86_64-unknown-none",
    loader_archs: &["x86_64"],
    variable: "PURGATORY_X86_64",
    rustflags: &[
        // The linker reads the dynamic section at load time; nobody writes it.
        "-Clink-arg=-zrodynamic",
        // The scalar digest is for CPUs without SHA instructions. sha2's own choice at run time
        // would bring in SSE code; unrolled, its rounds alone are 10 KiB.
        "--cfg=sha2_backend=\"soft\"",
        "--cfg=sha2_backend_soft=\"compact\"",
    ],
}];

/// What the nested builds read, besides the folder of each image.
const SOURCES: &[&str] = &["build.rs", "build", "purgatory", "Cargo.toml", "Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    if env::var_os("CARGO_FEATURE_EMBED").is_none() {
        return;
    }
    let arch = variable("CARGO_CFG_TARGET_ARCH");
    let mut wanted = IMAGES.iter().filter(|image| image.loader_archs.contains(&&*arch)).peekable();
    if wanted.peek().is_none() {
        fail(&format!("there is no purgatory for {arch} machines yet"));
    }
    for image in wanted {
        println!("cargo::rerun-if-changed={}", image.folder);
        if let Err(error) = embed(image) {
            fail(&format!("{}: {error}", image.package));
        }
    }
}

fn embed(image: &Image) -> Result<(), Box<dyn Error>> {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let built = fs::read(nested::build(image, &workspace, &out_dir)?)?;
    audit::audit(&built)?;
    let embedded = out_dir.join(image.package);
    fs::write(&embedded, strip(&built)?)?;
    println!("cargo::rustc-env={}={}", image.variable, Path::display(&embedded));
    Ok(())
}

/// The image without its symbols, which only the audit reads; section headers stay, because the
/// linker finds the parameter block by its section's name.
fn strip(image: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(image)?;
    for symbol in &mut builder.symbols {
        symbol.delete = true;
    }
    for section in &mut builder.sections {
        section.delete = !section.is_alloc() && section.name != b".shstrtab"[..].into();
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| fail(&format!("{name}: {error}")))
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    process::exit(1)
}
