//! The kernel's file and what is in it.

use std::path::{Path, PathBuf};

use purgatorio::{
    file::{self, MappedFile},
    image::{BzImage, Image, ImageError, Vmlinux, unpack::{self, UnpackError}},
    plan::{Target, entry, Kernel},
};

use crate::{load::LoadError, options::ImageType, progress, report::Report};

/// No kernel unpacks to more. A file that does is damaged or hostile.
const UNPACKED_LIMIT: usize = 1 << 30;

pub struct KernelFile {
    path: PathBuf,
    mapped: MappedFile,
    /// Its content, if the file as a whole is compressed.
    unpacked: Option<Vec<u8>>,
}
