//! Compression of single pages.
//!
//! Measured on the pages of a Debian 6.1 kernel that were not zero: libdeflate's level 2 is three
//! times as fast as zlib's level 1, which makedumpfile has, and 2 % smaller; its level 1 is 40 %
//! faster still, but 3 % larger than zlib's. The few pages that level 1 hardly makes smaller are
//! much of that difference. zlib-rs at level 1 is faster than either, and 22 % larger.

use std::fmt;
use std::str::FromStr;

use libdeflater::CompressionLvl;
use zstd_safe::{CCtx, CParameter, DCtx};

/// Flags of a page's descriptor, and of the file's status.
const ZLIB: u32 = 0x1;
const LZO: u32 = 0x2;
const SNAPPY: u32 = 0x4;
const ZSTD: u32 = 0x20;

/// The first try, and the second.
const ZLIB_LEVELS: [i32; 2] = [1, 2];
/// The fastest one with all that the format has: those below do not compress literals.
const ZSTD_LEVEL: i32 = 1;
/// The level's own is 5, which saves 1 % of the size and takes 5 % more time.
const ZSTD_MIN_MATCH: u32 = 6;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Every reader has it.
    #[default]
    Zlib,
    /// Smaller and faster; crash reads it from 8.0, makedumpfile from 1.7.1 if built so.
    Zstd,
    /// Fast and large.
    Snappy,
    /// Not at all.
    None,
}

impl Compression {
    /// The flag of the descriptors of compressed pages, and of the file's status.
    pub const fn flag(self) -> u32 {
        match self {
            Self::Zlib => ZLIB,
            Self::Zstd => ZSTD,
            Self::Snappy => SNAPPY,
            Self::None => 0,
        }
    }

    fn name(self) -> &'static str {
        method_of(self.flag()).unwrap_or("none")
    }
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Zlib, Self::Zstd, Self::Snappy, Self::None]
            .into_iter()
            .find(|compression| compression.name() == text)
            .ok_or("zlib, zstd, snappy or none")
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compresses pages.
pub struct Compressor {
    method: Method,
    /// What a page becomes at most.
    buffer: Vec<u8>,
}

enum Method {
    Zlib(Box<[libdeflater::Compressor; 2]>),
    Zstd(CCtx<'static>),
    Snappy(Box<snap::raw::Encoder>),
    None,
}

impl Compressor {
    /// For pages of `page_size` bytes.
    pub fn new(compression: Compression, page_size: usize) -> Self {
        let (method, bound) = match compression {
            Compression::Zlib => {
                let compressors = ZLIB_LEVELS.map(|level| {
                    libdeflater::Compressor::new(CompressionLvl::new(level).unwrap_or_default())
                });
                (Method::Zlib(Box::new(compressors)), page_size)
            }
            Compression::Zstd => (Method::Zstd(zstd_context(page_size)), page_size),
            Compression::Snappy => {
                let encoder = Box::new(snap::raw::Encoder::new());
                (Method::Snappy(encoder), snap::raw::max_compress_len(page_size))
            }
            Compression::None => (Method::None, 0),
        };
        Self { method, buffer: vec![0; bound] }
    }

    /// The compressed page, if that is smaller.
    pub fn compress(&mut self, page: &[u8]) -> Option<&[u8]> {
        let buffer = self.buffer.as_mut_slice();
        let size = match &mut self.method {
            Method::Zlib(compressors) => zlib(compressors, page, buffer)?,
            Method::Zstd(context) => context.compress2(buffer, page).ok()?,
            Method::Snappy(encoder) => encoder.compress(page, buffer).ok()?,
            Method::None => return None,
        };
        buffer.get(..size).filter(|compressed| compressed.len() < page.len())
    }
}

/// What does not become smaller at all is not tried again.
fn zlib(
    [fast, slow]: &mut [libdeflater::Compressor; 2],
    page: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    let size = fast.zlib_compress(page, buffer).ok()?;
    if size <= page.len() / 4 * 3 { Some(size) } else { slow.zlib_compress(page, buffer).ok() }
}

fn zstd_context(page_size: usize) -> CCtx<'static> {
    let mut context = CCtx::create();
    // It is cleared for each page: half as many entries as a page has bytes.
    let hash_log = page_size.checked_ilog2().unwrap_or_default().saturating_sub(1);
    let parameters = [
        CParameter::CompressionLevel(ZSTD_LEVEL),
        CParameter::MinMatch(ZSTD_MIN_MATCH),
        CParameter::HashLog(hash_log),
    ];
    for parameter in parameters {
        // Out of range for absurd pages only, which get the level's.
        let _ = context.set_parameter(parameter);
    }
    context
}

/// The method that a page's descriptor, or a file's status, has a flag of; `None` if it is not
/// compressed.
pub fn method_of(flags: u32) -> Option<&'static str> {
    let methods = [(ZLIB, "zlib"), (LZO, "lzo"), (SNAPPY, "snappy"), (ZSTD, "zstd")];
    methods.into_iter().find_map(|(flag, name)| (flags & flag != 0).then_some(name))
}

/// Why a page cannot be decompressed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// Its data is damaged.
    #[error("its data, compressed with {method}, is damaged")]
    Damaged {
        /// The method.
        method: &'static str,
    },
    /// It is not as long as a page.
    #[error("it has {size} bytes instead of {expected}")]
    Size {
        /// Its length.
        size: usize,
        /// That of a page.
        expected: usize,
    },
    /// The method is not known.
    #[error("its compression (flags {flags:#x}) is not known")]
    Unknown {
        /// The descriptor's flags.
        flags: u32,
    },
}

/// Decompresses pages.
pub struct Decompressor {
    zlib: libdeflater::Decompressor,
    zstd: DCtx<'static>,
    snappy: snap::raw::Decoder,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self {
            zlib: libdeflater::Decompressor::new(),
            zstd: DCtx::create(),
            snappy: snap::raw::Decoder::new(),
        }
    }
}

impl Decompressor {
    /// Fills `page` with what `data` holds, compressed as the descriptor's `flags` say.
    pub fn decompress(
        &mut self,
        flags: u32,
        data: &[u8],
        page: &mut [u8],
    ) -> Result<(), DecompressError> {
        let expected = page.len();
        let size = match flags {
            0 if data.len() == expected => {
                page.copy_from_slice(data);
                Ok(expected)
            }
            0 => return Err(DecompressError::Size { size: data.len(), expected }),
            ZLIB => self.zlib.zlib_decompress(data, page).map_err(drop),
            ZSTD => self.zstd.decompress(page, data).map_err(drop),
            SNAPPY => self.snappy.decompress(data, page).map_err(drop),
            LZO => lzo::decompress_into(data, page).map_err(drop),
            _ => return Err(DecompressError::Unknown { flags }),
        };
        match size {
            Ok(size) if size == expected => Ok(()),
            Ok(size) => Err(DecompressError::Size { size, expected }),
            Err(()) => {
                let method = method_of(flags).unwrap_or("none");
                Err(DecompressError::Damaged { method })
            }
        }
    }
}
