//! Compression formats, told by their magic numbers.

use core::fmt;

/// A compression format that kernels and their payloads come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// .xz container (with the x86 BCJ filter for kernels).
    Xz,
    /// RFC 8878.
    Zstd,
    /// LZ4 frame, or the legacy frame that the kernel's build makes (`lz4 -l`).
    Lz4,
    /// .lzma ("LZMA alone").
    Lzma,
    /// bzip2
    Bzip2,
    /// lzop container.
    Lzo,
}

impl Format {
    /// The format that `bytes` begin with.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Format); 8] = [
            (b"\x1f\x8b\x08", Format::Gzip),
            (b"\xfd7zXZ\x00", Format::Xz),
            (b"\x28\xb5\x2f\xfd", Format::Zstd),
            (b"\x02\x21\x4c\x18", Format::Lz4), // legacy frame
            (b"\x04\x22\x4d\x18", Format::Lz4),
            // .lzma has no magic number: properties byte lc=3 lp=0 pb=2, then the dictionary's
            // size, of which all encoders in use leave the low two bytes zero.
            (b"\x5d\x00\x00", Format::Lzma),
            (b"BZh", Format::Bzip2),
            (b"\x89LZO\x00\x0d\x0a\x1a\x0a", Format::Lzo),
        ];
        MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|&(_, format)| format)
    }

    /// Its usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Bzip2 => "bzip2",
            Self::Lzo => "lzo",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
