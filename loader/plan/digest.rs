//! Digests of regions, as purgatory checks them: SHA-256 of each half.

use alloc::vec::Vec;

use purgatory::params::Region;
use sha2::{Digest, Sha256};

/// SHA-256 of a region's two halves ([`Region::split`]).
pub type Halves = [[u8; 32]; 2];

/// The digests of all `regions`, in order. With `std` on as many threads as the machine has
/// CPUs; each half is a piece of work.
pub fn digest_all(regions: &[&[u8]]) -> Vec<Halves> {
    let halves: Vec<&[u8]> = regions.iter().flat_map(|region| halves(region)).collect();
    let digests = digest_each(&halves);
    digests.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect()
}

/// The digest of one region.
pub fn digest(region: &[u8]) -> Halves {
    halves(region).map(|half| Sha256::digest(half).into())
}

fn halves(region: &[u8]) -> [&[u8]; 2] {
    // At most the slice's length, which is a usize.
    let middle = usize::try_from(Region::split(region.len() as u64)).unwrap_or(region.len());
    let (first, second) = region.split_at(middle);
    [first, second]
}

#[cfg(not(feature = "std"))]
fn digest_each(pieces: &[&[u8]]) -> Vec<[u8; 32]> {
    pieces.iter().map(|piece| Sha256::digest(piece).into()).collect()
}

#[cfg(feature = "std")]
fn digest_each(pieces: &[&[u8]]) -> Vec<[u8; 32]> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Below this a thread costs more than it saves.
    const WORTH_A_THREAD: usize = 1 << 20;

    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let helpers = cpus.min(total / WORTH_A_THREAD).min(pieces.len()).saturating_sub(1);

    // The longest first, so that no thread starts a long piece when the others are done.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&index| core::cmp::Reverse(pieces[index].len()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, <[u8; 32]>::from(Sha256::digest(pieces[index]))));
        }
        done
    };
    let mut digests = alloc::vec![[0; 32]; pieces.len()];
    thread::scope(|scope| {
        // A thread that cannot be started is one helper less: this thread works through the
        // whole list if need be.
        let helpers: Vec<_> = (0..helpers)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut done = work();
        for helper in helpers {
            match helper.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        for (index, digest) in done {
            digests[index] = digest;
        }
    });
    digests
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn each_half_has_its_own_digest() {
        let region: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let [first, second] = digest(&region);
        // 1000 / 2 = 500, in whole blocks 448.
        assert_eq!(first, <[u8; 32]>::from(Sha256::digest(&region[..448])));
        assert_eq!(second, <[u8; 32]>::from(Sha256::digest(&region[448..])));
    }

    #[test]
    fn the_order_is_kept_whatever_the_lengths() {
        let regions: Vec<Vec<u8>> = [3 << 20, 0, 1, 64, 128, 5 << 20, 127]
            .into_iter()
            .zip(1..)
            .map(|(length, byte)| vec![byte; length])
            .collect();
        let regions: Vec<&[u8]> = regions.iter().map(Vec::as_slice).collect();
        let one_by_one: Vec<Halves> = regions.iter().map(|region| digest(region)).collect();
        assert_eq!(digest_all(&regions), one_by_one);
    }
}
