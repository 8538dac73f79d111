//! Unpacked kernels: taken from where an earlier load kept them, or unpacked now and kept for the
//! next one.

use std::ops::Deref;
use std::path::Path;

use purgatorio::{
    image::unpack::{self, UnpackError},
    kept::{self, Identity, Kept, KeptError, Store},
};

use crate::{
    progress,
    report::{Report, chain},
};

/// No kernel unpacks to more: a file that does is damaged or hostile.
const LIMIT: usize = 1 << 30;

/// The bytes of an unpacked kernel; dereferences to them.
pub enum Unpacked {
    /// Unpacked now.
    Fresh(Vec<u8>),
    /// Unpacked earlier.
    Kept(Kept),
}

impl Deref for Unpacked {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Fresh(bytes) => bytes,
            Self::Kept(kept) => kept,
        }
    }
}

/// What becomes of a kernel that had to be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing is written.
    Never,
    /// It is kept for the next load. If that fails the next load takes longer, and nothing else.
    IfPossible,
    /// It is kept, or the unpacking has failed.
    Always,
}

/// Unpacks kernels, or takes what is kept.
pub struct Unpacker<'r> {
    store: Store,
    keep: Keep,
    report: &'r Report,
}

/// There is no unpacked kernel.
#[derive(Debug, thiserror::Error)]
pub enum UnpackerError {
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It cannot be kept, as it must be.
    #[error(transparent)]
    Kept(#[from] KeptError),
}

impl<'r> Unpacker<'r> {
    /// With the kernels that are kept on this machine.
    pub fn new(keep: Keep, report: &'r Report) -> Self {
        Self { store: Store::at(Path::new(kept::DIRECTORY)), keep, report }
    }

    /// The unpacked form of `packed`; `what` is shown if it takes long.
    pub fn unpack(&self, packed: &[u8], what: &'static str) -> Result<Unpacked, UnpackerError> {
        let identity = Identity::of(packed);
        if let Some(kept) = self.find(&identity) {
            return Ok(Unpacked::Kept(kept));
        }
        let unpacked = progress::during(what, |report| unpack::unpack(packed, LIMIT, report))?;
        self.report.decision(format_args!("unpacked {} bytes", unpacked.len()));
        if self.keep != Keep::Never {
            match self.store.keep(&identity, &unpacked) {
                Ok(path) => self.report.decision(format_args!("kept them as {}", path.display())),
                Err(error) if self.keep == Keep::Always => return Err(error.into()),
                Err(error) => self.report.decision(chain(&error)),
            }
        }
        Ok(Unpacked::Fresh(unpacked))
    }

    fn find(&self, identity: &Identity) -> Option<Kept> {
        match self.store.find(identity) {
            Ok(Some(kept)) => {
                self.report.decision(format_args!(
                    "took the kernel that is kept unpacked in {}: {} bytes",
                    kept::DIRECTORY,
                    kept.len()
                ));
                Some(kept)
            }
            Ok(None) => None,
            Err(error @ (KeptError::Damaged { .. } | KeptError::NotTrusted { .. })) => {
                self.report.warning(format_args!("{}; unpacking the kernel anew", chain(&error)));
                None
            }
            Err(error) => {
                self.report.decision(chain(&error));
                None
            }
        }
    }
}
