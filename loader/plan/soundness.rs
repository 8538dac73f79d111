//! What must hold of every plan.

use alloc::vec::Vec;
use core::mem::offset_of;

use goblin::elf::{Elf, program_header::PT_LOAD};
use purgatory::params::{Backup, Params};

use super::testing::{params_of, regions_of, segment, u64_at, zero_of};
use super::{Plan, Request, What, digest};
use crate::facts::Facts;
use crate::range::{self, PhysRange};

/// What kexec_load refuses, and what would break the next kernel silently. Segments may be in
/// `legal`, as whole pages of `page` bytes.
pub fn assert_sound(plan: &Plan<'_>, request: &Request<'_>, legal: &[PhysRange], page: u64) {
    assert!(plan.segments.len() <= 16);
    let (low, high) = (request.options.mem_min, request.options.mem_max);
    for segment in &plan.segments {
        let range = segment.range();
        assert_eq!((range.start % page, range.len() % page), (0, 0), "{range}");
        assert!(segment.data.len() as u64 <= segment.memsz, "{range}");
        assert_eq!(range::subtract(&[range], legal), [], "{} is not RAM", segment.what);
        assert!(range.start >= low && range.end - 1 <= high, "{range}");
    }
    for pair in plan.segments.windows(2) {
        assert!(pair[0].range().end <= pair[1].range().start, "{} overlaps", pair[1].what);
    }
    let kernels = plan.segments.iter().filter(|segment| segment.what == What::Kernel);
    assert!((1..=4).contains(&kernels.count()));
    assert_sealed(plan, request);
}

/// A dump has all RAM that was not reserved for the capture kernel, each byte once, and reads what
/// purgatory copies away from the copy.
pub fn assert_dump(plan: &Plan<'_>, facts: &Facts) {
    let elf = Elf::parse(&segment(plan, What::Elfcorehdr).data).expect("core headers");
    let params = params_of(plan);
    let backup = |field| u64_at(&params, offset_of!(Params, backup) + field);
    let source = backup(offset_of!(Backup, source));
    let saved = PhysRange::new(source, source + backup(offset_of!(Backup, length)));
    let mut dumped = Vec::new();
    for load in elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD) {
        if facts.kernel_text.is_some_and(|text| text.virt == load.p_vaddr) {
            continue; // The same memory once more.
        }
        let range = PhysRange::new(load.p_paddr, load.p_paddr + load.p_memsz);
        let content = if saved.contains(&range) {
            backup(offset_of!(Backup, destination)) + (range.start - source)
        } else {
            assert!(!saved.overlaps(&range), "{range} is overwritten in part");
            range.start
        };
        assert_eq!((load.p_offset, load.p_filesz), (content, load.p_memsz), "{range}");
        dumped.push(range);
    }
    let bytes: u64 = dumped.iter().map(PhysRange::len).sum();
    range::normalize(&mut dumped);
    let reserved = [&facts.crash_ranges[..], &facts.crash_cma_ranges].concat();
    let mut expected = range::subtract(&facts.system_ram, &reserved);
    assert_eq!(bytes, expected.iter().map(PhysRange::len).sum(), "no byte twice");
    range::normalize(&mut expected);
    assert_eq!(dumped, expected);
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
