//! By `sha2`, which has code for the SHA-256 instructions of x86.

use alloc::vec::Vec;

use purgatory::params::Region;
use sha2::{Digest, Sha256};

use super::Quarters;
#[cfg(feature = "std")]
use super::threads;

/// The digests of all `regions`, in order. With `std` on as many threads as the machine has
/// CPUs; each quarter is a piece of work.
pub fn digest_all(regions: &[&[u8]]) -> Vec<Quarters> {
    let quarters: Vec<&[u8]> = regions.iter().flat_map(|region| Region::quarters(region)).collect();
    let digest = |quarter: &[u8]| Sha256::digest(quarter).into();
    #[cfg(feature = "std")]
    let digests = threads::map(&quarters, digest);
    #[cfg(not(feature = "std"))]
    let digests: Vec<[u8; 32]> = quarters.iter().map(|quarter| digest(quarter)).collect();
    digests.as_chunks().0.to_vec()
}
