//! Unpacks a module file by its suffix.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any module has: nouveau and amdgpu with debug information stay below. A damaged or
/// hostile file must not fill the memory.
const LIMIT: u64 = 1 << 30;

/// Why a module could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The compressed data is damaged.
    #[error("its compressed data is damaged")]
    Damaged(#[source] io::Error),
    /// The start of the zstd data is damaged.
    #[error("its zstd header is damaged")]
    ZstdHeader(#[source] ruzstd::decoding::errors::FrameDecoderError),
    /// It unpacks to more than any module has.
    #[error("it unpacks to more than {LIMIT} bytes")]
    TooLarge,
    /// Compressed in a way that is not read here.
    #[error("its format {0} is not supported: unpack it, or recompress it with xz or zstd")]
    Format(String),
}

/// The content of a module file, and its path without the compression suffix.
pub(super) fn unpack(bytes: Vec<u8>, path: &Path) -> Result<(Vec<u8>, PathBuf), UnpackError> {
    let data = match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("xz") => read_all(lzma_rust2::XzReader::new(&bytes[..], true)),
        Some("zst") => read_all(
            ruzstd::decoding::StreamingDecoder::new(&bytes[..]).map_err(UnpackError::ZstdHeader)?,
        ),
        Some("ko") => return Ok((bytes, path.to_owned())),
        other => return Err(UnpackError::Format(other.unwrap_or("without suffix").to_owned())),
    };
    Ok((data?, path.with_extension("")))
}

fn read_all(decoder: impl Read) -> Result<Vec<u8>, UnpackError> {
    let mut data = Vec::new();
    let length = decoder.take(LIMIT + 1).read_to_end(&mut data).map_err(UnpackError::Damaged)?;
    if length as u64 > LIMIT {
        return Err(UnpackError::TooLarge);
    }
    Ok(data)
}
