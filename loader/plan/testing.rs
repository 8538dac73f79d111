//! A reader of sealed plans for the tests of this module and of each machine's planner.

use alloc::vec::Vec;
use core::mem::offset_of;

use purgatory::params::{Params, Region, Span};

use crate::plan::{Plan, Segment, What};

/// The only segment of its kind.
pub fn segment<'p, 'a>(plan: &'p Plan<'a>, what: What) -> &'p Segment<'a> {
    let mut found = plan.segments.iter().filter(|segment| segment.what == what);
    let first = found.next().expect("the plan has such a segment");
    assert!(found.next().is_none(), "two segments are {what}");
    first
}

/// A number in a segment.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// A number in a segment.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// The parameter block in a sealed plan, found by its magic number.
pub fn params_of(plan: &Plan<'_>) -> Vec<u8> {
    let data = &segment(plan, What::Purgatory).data;
    let magic = purgatory::params::MAGIC.to_le_bytes();
    let start = data.windows(8).position(|window| window == magic).expect("there is a block");
    data[start..start + size_of::<Params>()].to_vec()
}

/// The regions of a parameter block.
pub fn regions_of(params: &[u8]) -> Vec<Region> {
    let count = u32_at(params, offset_of!(Params, region_count)) as usize;
    (0..count)
        .map(|n| {
            let at = &params[offset_of!(Params, regions) + n * size_of::<Region>()..];
            Region {
                address: u64_at(at, 0),
                length: u64_at(at, 8),
                digest: core::array::from_fn(|n| at[16 + 32 * n..][..32].try_into().unwrap()),
                name: at[144..160].try_into().unwrap(),
            }
        })
        .collect()
}

/// The spans to clear of a parameter block.
pub fn zero_of(params: &[u8]) -> Vec<Span> {
    let count = u32_at(params, offset_of!(Params, zero_count)) as usize;
    (0..count)
        .map(|n| {
            let at = &params[offset_of!(Params, zero) + n * size_of::<Span>()..];
            Span { address: u64_at(at, 0), length: u64_at(at, 8) }
        })
        .collect()
}
