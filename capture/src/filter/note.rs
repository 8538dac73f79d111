//! What the user has to know about a filter: which pages are kept because it cannot tell.

use super::memory_map::MapError;
use crate::vmcore::InfoError;

/// Why pages are kept that the dump level would leave out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Note {
    /// The dead kernel does not say how such pages are told from others.
    #[error("{what} are kept: {reason}")]
    KindUnknown {
        /// The pages.
        what: &'static str,
        /// What is missing.
        reason: InfoError,
    },
    /// The state of pages cannot be found at all.
    #[error("no pages but those of zeros are left out, because their state cannot be found: {0}")]
    NoMemoryMap(MapError),
    /// The state of some pages cannot be read.
    #[error("pages kept because the dump does not have their state (struct page): {pages}")]
    Unreadable {
        /// How many.
        pages: u64,
    },
    /// There is more memory than is looked at.
    #[error(
        "pages from physical address {from:#x} on are kept: the dead kernel's mem_section has too \
         many pieces to be true"
    )]
    TooManyRuns {
        /// The first address.
        from: u64,
    },
}
