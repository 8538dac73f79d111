//! Kernel files as the loader takes them: as they are, or compressed as a whole.

use purgatorio::image::unpack::{UnpackError, unpack};
use purgatorio::image::{Image, ImageError};

/// More than any kernel unpacks to, in bytes.
const LIMIT: usize = 1 << 30;

/// Why a file is no kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be unpacked.
    #[error("it cannot be unpacked")]
    Unpack(#[source] UnpackError),
    /// It, or what is in it, is no kernel.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What `with` makes of the kernel in `file`.
pub fn with_image<T>(file: &[u8], with: impl FnOnce(&Image<'_>) -> T) -> Result<T, Error> {
    match Image::detect(file) {
        Err(ImageError::Compressed { .. }) => {
            let unpacked = unpack(file, LIMIT, &mut |_| ()).map_err(Error::Unpack)?;
            Ok(with(&Image::detect(&unpacked)?))
        }
        image => Ok(with(&image?)),
    }
}
