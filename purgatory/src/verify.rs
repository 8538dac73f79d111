//! Is everything still as the loader left it?

use crate::Machine;
use crate::params::{DIGESTED_FROM, MAGIC, Params, REGIONS_MAX, Region, Span, VERSION, ZERO_MAX};
use crate::sha256;

/// Which half of a region is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// `[0, Region::split)`
    First,
    /// `[Region::split, length)`
    Second,
}

/// Whether the block is one that the linker filled and nothing changed since: only then may
/// anything in it be believed. `bytes` is the block as it lies in memory.
pub fn params_intact(params: &Params, bytes: &[u8]) -> bool {
    params.magic == MAGIC
        && params.version == VERSION
        && params.size as usize == bytes.len()
        && params.region_count as usize <= REGIONS_MAX
        && params.zero_count as usize <= ZERO_MAX
        && bytes.get(DIGESTED_FROM..).is_some_and(|rest| sha256::digest(rest) == params.digest)
}

/// The first half of `region` that is not what was digested at load time, if any.
pub fn damaged_half(machine: &impl Machine, region: &Region) -> Option<Half> {
    let span = Span { address: region.address, length: region.length };
    let Some(bytes) = machine.memory(span) else {
        return Some(Half::First);
    };
    #[expect(clippy::cast_possible_truncation, reason = "within bytes.len()")]
    let halves = bytes.split_at(Region::split(region.length) as usize);
    let [first, second] =
        sha256::digest_pair(|states, blocks| machine.compress_pair(states, blocks), halves.into());
    match [first == region.digest[0], second == region.digest[1]] {
        [true, true] => None,
        [true, false] => Some(Half::Second),
        [false, _] => Some(Half::First),
    }
}
