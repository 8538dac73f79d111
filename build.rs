//! With the feature `embed`: builds the purgatory images that the target being built needs, or
//! with `every-arch` all of them, audits them, and embeds them; `loader/embedded.rs` includes the
//! files named by the variables set here.
//!
//! One more architecture is one more entry of [`IMAGES`], its crate in arch/, and its machine
//! code's rules in build/audit/.

#[path = "build/audit/mod.rs"]
mod audit;
#[path = "build/nested.rs"]
mod nested;

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs, process};

use nested::Image;

const IMAGES: &[Image] = &[
    Image {
        package: "purgatory-x86_64",
        folder: "arch/x86",
        target: "x86_64-unknown-none",
        // A 32-bit loader can run on a 64-bit kernel.
        loaders: &[("x86_64", "little"), ("x86", "little")],
        variable: "PURGATORY_X86_64",
        size_ceiling: 24 * 1024,
        rustflags: &[READ_ONLY_DYNAMIC],
    },
    Image {
        package: "purgatory-i386",
        folder: "arch/x86",
        target: "i586-unknown-linux-gnu",
        loaders: &[("x86", "little")],
        variable: "PURGATORY_I386",
        size_ceiling: 24 * 1024,
        rustflags: &[
            READ_ONLY_DYNAMIC,
            // The target is a hosted one, and would be linked by a C compiler. What comes out is a
            // static PIE all the same: nothing names a library or a dynamic loader.
            "-Clinker=rust-lld",
            "-Clinker-flavor=ld.lld",
        ],
    },
    Image {
        package: "purgatory-ppc64",
        folder: "arch/ppc64",
        target: "powerpc64le-unknown-linux-gnu",
        loaders: &[("powerpc64", "little")],
        variable: "PURGATORY_PPC64LE",
        size_ceiling: 36 * 1024,
        rustflags: PPC64_FLAGS,
    },
    Image {
        package: "purgatory-ppc64",
        folder: "arch/ppc64",
        // The linker takes the -gnu target's objects for ELFv1.
        target: "powerpc64-unknown-linux-musl",
        loaders: &[("powerpc64", "big")],
        variable: "PURGATORY_PPC64",
        size_ceiling: 36 * 1024,
        rustflags: PPC64_FLAGS,
    },
];

const PPC64_FLAGS: &[&str] = &[
    READ_ONLY_DYNAMIC,
    // Hosted targets too: as for i386, and without musl's start files.
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-self-contained=no",
    "-Crelocation-model=pie",
    // Else 64 KiB, with as much padding in the file.
    "-Clink-arg=-zmax-page-size=4096",
    // Vectors are for the digest, which is assembly.
    "-Ctarget-feature=-altivec,-vsx",
];

/// The linker reads the dynamic section at load time; nobody writes it.
const READ_ONLY_DYNAMIC: &str = "-Clink-arg=-zrodynamic";

/// What the nested builds read.
const SOURCES: &[&str] = &["build.rs", "build", "arch", "purgatory", "Cargo.toml", "Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    if env::var_os("CARGO_FEATURE_EMBED").is_none() {
        return;
    }
    let loader = (variable("CARGO_CFG_TARGET_ARCH"), variable("CARGO_CFG_TARGET_ENDIAN"));
    let loader = (&*loader.0, &*loader.1);
    if !IMAGES.iter().any(|image| image.loaders.contains(&loader)) {
        fail(&format!("there is no purgatory for {} ({}-endian) machines yet", loader.0, loader.1));
    }
    let every_arch = env::var_os("CARGO_FEATURE_EVERY_ARCH").is_some();
    for image in IMAGES {
        let wanted = every_arch || image.loaders.contains(&loader);
        if let Err(error) = embed(image, wanted) {
            fail(&format!("{}: {error}", image.package));
        }
    }
}

/// Makes the file that is embedded: the image, or nothing if this loader does without it.
fn embed(image: &Image, wanted: bool) -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let content = if wanted { stripped(image, &out_dir)? } else { Vec::new() };
    let embedded = out_dir.join(image.variable);
    fs::write(&embedded, content)?;
    println!("cargo::rustc-env={}={}", image.variable, Path::display(&embedded));
    Ok(())
}

fn stripped(image: &Image, out_dir: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let built = fs::read(nested::build(image, &workspace, out_dir)?)?;
    audit::audit(&built, image.size_ceiling)?;
    Ok(strip(&built)?)
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
