//! What must hold of every plan.

use alloc::vec;
use core::mem::offset_of;

use purgatory::params::Params;

use super::testing::{params_of, regions_of, segment, u32_at, u64_at, zero_of};
use super::{Plan, Request, Target, What, digest};
use crate::facts::{Facts, MemoryKind};
use crate::range;

/// What kexec_load refuses, and what would break the next kernel silently.
pub fn assert_sound(plan: &Plan<'_>, request: &Request<'_>, facts: &Facts) {
    assert!(plan.segments.len() <= 16);
    let legal = match request.target {
        Target::Crash => vec![*facts.crash_ranges.iter().max().unwrap()],
        Target::Reboot => {
            let ram = facts.firmware_map.iter().filter(|entry| entry.kind == MemoryKind::Ram);
            ram.map(|entry| entry.range).collect()
        }
    };
    let (low, high) = (request.options.mem_min, request.options.mem_max);
    for segment in &plan.segments {
        let range = segment.range();
        assert_eq!((range.start % 4096, range.len() % 4096), (0, 0), "{range}");
        assert!(segment.data.len() as u64 <= segment.memsz, "{range}");
        assert_eq!(range::subtract(&[range], &legal), [], "{} is not RAM", segment.what);
        assert!(range.start >= low && range.end - 1 <= high, "{range}");
    }
    for pair in plan.segments.windows(2) {
        assert!(pair[0].range().end <= pair[1].range().start, "{} overlaps", pair[1].what);
    }
    let kernels = plan.segments.iter().filter(|segment| segment.what == What::Kernel);
    assert!((1..=4).contains(&kernels.count()));
    assert_sealed(plan, request);
    assert_boot_params(plan, request);
}

/// Purgatory would find every region intact, and every byte that it clears was a zero of the
/// file that is in memory behind a segment's data.
fn assert_sealed(plan: &Plan<'_>, request: &Request<'_>) {
    let params = params_of(plan);
    let regions = regions_of(&params);
    assert_eq!(regions.is_empty(), !request.options.verify);
    for region in regions {
        let end = region.address + region.length;
        let holder = plan.segments.iter().find(|segment| {
            segment.address <= region.address && end <= segment.address + segment.data.len() as u64
        });
        let holder = holder.expect("each region is loaded");
        let start = index(region.address - holder.address);
        let bytes = &holder.data[start..start + index(region.length)];
        assert_eq!(digest::digest(bytes), region.digest);
        assert!(region.name.starts_with(holder.what.name().as_bytes()));
    }
    for span in zero_of(&params) {
        let holder = plan.segments.iter().find(|segment| {
            let behind = segment.address + segment.data.len() as u64;
            segment.what == What::Kernel && span.address == behind
        });
        assert!(span.address + span.length <= holder.expect("it follows data").range().end);
    }
}

/// An offset in a slice.
pub fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// boot_params point to what was loaded.
fn assert_boot_params(plan: &Plan<'_>, request: &Request<'_>) {
    let params = params_of(plan);
    let boot_params = segment(plan, What::BootParams);
    let rsi = offset_of!(Params, handoff.registers) + 8 * purgatory::params::x86::RSI;
    assert_eq!(u64_at(&params, rsi), boot_params.address);
    let joined = |low, high| {
        u64::from(u32_at(&boot_params.data, low)) | u64::from(u32_at(&boot_params.data, high)) << 32
    };
    let line = segment(plan, What::CommandLine);
    assert_eq!(joined(0x228, 0xc8), line.address);
    assert_eq!(*line.data, *[plan.command_line.as_bytes(), b"\0"].concat());
    match request.initrd {
        Some(initrd) => {
            let segment = segment(plan, What::Initrd);
            assert_eq!(joined(0x218, 0xc0), segment.address);
            assert_eq!(joined(0x21c, 0xc4), initrd.len() as u64);
            assert_eq!(*segment.data, *initrd);
        }
        None => assert_eq!((joined(0x218, 0xc0), joined(0x21c, 0xc4)), (0, 0)),
    }
    assert_eq!(boot_params.data[0x1ef], 0);
    // Nothing here randomizes the address, so the kernel must not believe it.
    assert_eq!(boot_params.data[0x211] & 2, 0);
}
