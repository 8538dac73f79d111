//! Digests of regions, as purgatory checks them: SHA-256 of each quarter.

#[cfg(not(all(feature = "std", target_arch = "powerpc64")))]
mod portable;
#[cfg(all(feature = "std", target_arch = "powerpc64"))]
mod ppc64;
#[cfg(feature = "std")]
mod threads;

use purgatory::params::Region;
use sha2::{Digest, Sha256};

#[cfg(not(all(feature = "std", target_arch = "powerpc64")))]
pub use portable::digest_all;
#[cfg(all(feature = "std", target_arch = "powerpc64"))]
pub use ppc64::digest_all;

/// SHA-256 of a region's quarters ([`Region::quarters`]).
pub type Quarters = [[u8; 32]; 4];

/// The digest of one region.
pub fn digest(region: &[u8]) -> Quarters {
    Region::quarters(region).map(|quarter| Sha256::digest(quarter).into())
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    #[test]
    fn each_quarter_has_its_own_digest() {
        let region: Vec<u8> = (0..=255).cycle().take(1000).collect();
        // 1000 / 4 = 250, in whole blocks 192.
        let quarters = [&region[..192], &region[192..384], &region[384..576], &region[576..]];
        assert_eq!(
            digest(&region),
            quarters.map(|quarter| <[u8; 32]>::from(Sha256::digest(quarter)))
        );
    }

    #[test]
    fn the_order_is_kept_whatever_the_lengths() {
        let regions: Vec<Vec<u8>> = [3 << 20, 0, 1, 64, 128, 5 << 20, 127]
            .into_iter()
            .zip(1..)
            .map(|(length, byte)| vec![byte; length])
            .collect();
        let regions: Vec<&[u8]> = regions.iter().map(Vec::as_slice).collect();
        let one_by_one: Vec<Quarters> = regions.iter().map(|region| digest(region)).collect();
        assert_eq!(digest_all(&regions), one_by_one);
    }
}
