//! Is everything still as the loader left it?

use crate::Machine;
use crate::params::{DIGESTED_FROM, MAGIC, Params, REGIONS_MAX, Region, Span, VERSION, ZERO_MAX};
use crate::sha256;

/// What messages call the quarters of a region.
const QUARTERS: [&str; 4] = ["first", "second", "third", "fourth"];

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

/// What the first quarter of `region` is called that is not what was digested at load time, if
/// any.
pub fn damaged_quarter(machine: &impl Machine, region: &Region) -> Option<&'static str> {
    let span = Span { address: region.address, length: region.length };
    let Some(bytes) = machine.memory(span) else {
        return Some(QUARTERS[0]);
    };
    let found = sha256::digest_four(
        |states, blocks| machine.compress_four(states, blocks),
        Region::quarters(bytes),
    );
    let mut quarters = found.iter().zip(&region.digest).zip(QUARTERS);
    quarters.find(|((found, digested), _)| found != digested).map(|(_, quarter)| quarter)
}
