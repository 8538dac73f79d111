//! Compression of an image: as the capture kernel can unpack it, which its configuration says.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress};

use crate::initramfs::{self, Initramfs};

/// How an image is compressed. What is compressed takes less of the reserved memory while it is
/// unpacked, and longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Why an image cannot be compressed so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel cannot unpack it.
    #[error(
        "the capture kernel cannot unpack {compression}: {} has no {option}=y", config.display()
    )]
    Unsupported {
        /// What was asked for.
        compression: Compression,
        /// The kernel's configuration.
        config: PathBuf,
        /// What it lacks.
        option: &'static str,
    },
    /// Nothing says what the kernel can unpack.
    #[error(
        "cannot tell whether the capture kernel unpacks {compression}: its configuration is not at \
         {}: build the image without --compress", tried.display()
    )]
    Unknown {
        /// What was asked for.
        compression: Compression,
        /// One of the places where it was looked for.
        tried: PathBuf,
    },
}

impl Compression {
    /// Fails unless the kernel `release` with its modules in `modules_dir` (`/lib/modules`) can unpack
    /// it.
    pub fn check(self, modules_dir: &Path, release: &str) -> Result<(), Error> {
        let option = match self {
            Self::None => return Ok(()),
            Self::Gzip => "CONFIG_RD_GZIP",
            Self::Zstd => "CONFIG_RD_ZSTD",
        };
        let places = config_places(modules_dir, release);
        let read = |path: &PathBuf| Some((path.clone(), fs::read_to_string(path).ok()?));
        let Some((config, text)) = places.iter().find_map(read) else {
            return Err(Error::Unknown { compression: self, tried: places[0].clone() });
        };
        let has_it = text.lines().any(|line| line.strip_prefix(option) == Some("=y"));
        if has_it { Ok(()) } else { Err(Error::Unsupported { compression: self, config, option }) }
    }

    /// Writes the image. The same image gives the same bytes.
    pub fn write(self, image: &Initramfs, out: &mut impl Write) -> Result<(), initramfs::Error> {
        match self {
            Self::None => image.write_to(out).map(drop),
            Self::Gzip => {
                // It has no file name and no time in its header.
                let mut encoder = GzEncoder::new(out, flate2::Compression::best());
                image.write_to(&mut encoder)?;
                encoder.finish().map(drop).map_err(initramfs::Error::from)
            }
            Self::Zstd => {
                let mut plain = Vec::new();
                image.write_to(&mut plain)?;
                let mut packed = Vec::new();
                compress(plain.as_slice(), &mut packed, CompressionLevel::Fastest);
                out.write_all(&packed).map_err(initramfs::Error::from)
            }
        }
    }
}

/// Where kernels leave their configuration: distributions in /boot, some beside the modules, a
/// kernel that was built here in its build directory.
fn config_places(modules_dir: &Path, release: &str) -> [PathBuf; 3] {
    let modules = modules_dir.join(release);
    let root = modules_dir.ancestors().nth(2).unwrap_or(Path::new("/"));
    [
        root.join(format!("boot/config-{release}")),
        modules.join("config"),
        modules.join("build/.config"),
    ]
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err("expected none, gzip or zstd"),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purgatorio::image::unpack::unpack;

    #[test]
    fn what_is_packed_unpacks_and_is_the_same_every_time() {
        let mut image = Initramfs::new();
        image.file("init", 0o755, vec![7; 300_000]).dir("proc");
        let bytes = |compression: Compression| {
            let mut out = Vec::new();
            compression.write(&image, &mut out).unwrap();
            out
        };
        let plain = bytes(Compression::None);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = bytes(compression);
            assert!(packed.len() < plain.len() / 10, "{compression}: {}", packed.len());
            assert_eq!(packed, bytes(compression));
            assert!(unpack(&packed, usize::MAX, &mut |_| ()).unwrap() == plain, "{compression}");
        }
    }

    #[test]
    fn the_kernels_configuration_decides() {
        let dir = tempfile::tempdir().unwrap();
        let modules_dir = dir.path().join("lib/modules");
        let check = |compression: Compression| compression.check(&modules_dir, "6.1");
        assert!(check(Compression::None).is_ok());
        assert!(matches!(check(Compression::Zstd), Err(Error::Unknown { .. })));
        fs::create_dir_all(dir.path().join("boot")).unwrap();
        let config = "CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n";
        fs::write(dir.path().join("boot/config-6.1"), config).unwrap();
        assert!(check(Compression::Gzip).is_ok());
        let refused = check(Compression::Zstd).unwrap_err().to_string();
        assert!(refused.contains("boot/config-6.1 has no CONFIG_RD_ZSTD=y"), "{refused}");
    }
}
