//! The place of an ELF kernel: its PT_LOADs become segments, all moved by one distance.

use alloc::{borrow::Cow, vec::Vec};
use core::mem;
use core::ops::Range;

use purgatory::params::Span;

use crate::image::{Load, Vmlinux};
use crate::plan::layout::Layout;
use crate::plan::place::End;
use crate::plan::{PlanError, What};
use crate::range::PhysRange;

/// Most segments that a kernel takes.
pub const KERNEL_SEGMENTS_MAX: usize = 4;
/// No kernel takes more (x86 maps 1 GiB for its image, the others have less); a larger distance
/// between PT_LOADs is damage.
const SPREAD_MAX: u64 = 1 << 30;

/// Room for all PT_LOADs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the kernel is linked, from the beginning of a page at least.
    pub linked: PhysRange,
    /// Physical address of what is linked at the start of `linked`.
    pub start: u64,
}

impl Place {
    /// Finds it, at that end of the first of `windows` that has room, at a multiple of `align`.
    pub fn find(
        layout: &mut Layout<'_>,
        linked: PhysRange,
        align: u64,
        end: End,
        windows: &[PhysRange],
    ) -> Result<Self, PlanError> {
        if linked.len() > SPREAD_MAX {
            return Err(PlanError::Spread { range: linked });
        }
        let at = layout.take(What::Kernel, linked.len(), align, end, windows)?;
        Ok(Self { linked, start: at.start })
    }

    /// Where an address of `linked` ends up.
    pub fn moved(&self, linked: u64) -> u64 {
        // There is room for every address of `linked`, so the sum does not overflow.
        linked - self.linked.start + self.start
    }

    /// Puts the PT_LOADs there. Zeroes at the end of a segment's data are not loaded: the answer
    /// is what purgatory must clear for them.
    pub fn put<'a>(&self, layout: &mut Layout<'a>, mut loads: Vec<Load<'a>>) -> Vec<Span> {
        let page = layout.page();
        let mut zero = Vec::new();
        for group in groups(&loads, page) {
            let loads = &mut loads[group];
            let linked = pages(loads, page);
            let (data, trimmed) = content(loads, linked.start);
            let at = PhysRange::new(self.moved(linked.start), self.moved(linked.end));
            if trimmed > 0 {
                zero.push(Span { address: at.start + data.len() as u64, length: trimmed });
            }
            layout.put(What::Kernel, data, at);
        }
        zero
    }
}

/// From the lowest address that the kernel takes, rounded down to `align` (a power of two), to the
/// highest.
pub fn linked(vmlinux: &Vmlinux<'_>, align: u64) -> PhysRange {
    let range = vmlinux.range();
    PhysRange::new(range.start & !(align - 1), range.end)
}

/// The largest alignment among the PT_LOADs that makes sense.
pub fn largest_alignment(vmlinux: &Vmlinux<'_>) -> u64 {
    let aligns = vmlinux.loads.iter().map(|load| load.p_align);
    aligns.filter(|align| align.is_power_of_two() && *align <= SPREAD_MAX).max().unwrap_or(1)
}

/// Neighbouring PT_LOADs that become one segment: those that share a page, and the nearest ones
/// while there are more than [`KERNEL_SEGMENTS_MAX`] segments.
fn groups(loads: &[Load<'_>], page: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        let previous = groups.last_mut();
        match previous {
            Some(group) if pages(&loads[group.clone()], page).end > load.p_paddr & !(page - 1) => {
                group.end = index + 1;
            }
            Some(_) | None => groups.push(index..index + 1),
        }
    }
    while groups.len() > KERNEL_SEGMENTS_MAX {
        let gap =
            |at: usize| loads[groups[at].end].p_paddr - pages(&loads[groups[at].clone()], page).end;
        let nearest = (0..groups.len() - 1).min_by_key(|&at| gap(at)).unwrap_or(0);
        groups[nearest].end = groups[nearest + 1].end;
        groups.remove(nearest + 1);
    }
    groups
}

/// The whole pages that neighbouring PT_LOADs take, as linked.
fn pages(loads: &[Load<'_>], page: u64) -> PhysRange {
    let start = loads.first().map_or(0, |load| load.p_paddr) & !(page - 1);
    let end = loads.last().map_or(0, |load| load.range().end);
    PhysRange::new(start, end.checked_next_multiple_of(page).unwrap_or(u64::MAX))
}

/// What is loaded from linked address `start` on, without the zeroes at its end, and how many
/// these are. It is taken out of `loads`.
fn content<'a>(loads: &mut [Load<'a>], start: u64) -> (Cow<'a, [u8]>, u64) {
    let data = match loads {
        [load] if load.p_paddr == start => mem::take(&mut load.data),
        several => Cow::Owned(joined(several, start)),
    };
    let kept = data.len() - zeroes_at_end(&data);
    let trimmed = (data.len() - kept) as u64;
    let data = match data {
        Cow::Borrowed(data) => Cow::Borrowed(&data[..kept]),
        Cow::Owned(mut data) => {
            data.truncate(kept);
            Cow::Owned(data)
        }
    };
    (data, trimmed)
}

/// How many there are. A kernel's last PT_LOAD ends in megabytes of them.
fn zeroes_at_end(data: &[u8]) -> usize {
    let (_, chunks) = data.as_rchunks::<16>();
    let in_chunks = 16 * chunks.iter().rev().take_while(|chunk| **chunk == [0; 16]).count();
    let rest = &data[..data.len() - in_chunks];
    in_chunks + rest.iter().rev().take_while(|byte| **byte == 0).count()
}

/// The bytes of several PT_LOADs with zeroes between them.
fn joined(loads: &[Load<'_>], start: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for load in loads.iter().filter(|load| !load.data.is_empty()) {
        // Bounded by SPREAD_MAX, which 32 bits can express.
        let offset = usize::try_from(load.p_paddr - start).unwrap_or(usize::MAX);
        bytes.resize(offset, 0);
        bytes.extend_from_slice(&load.data);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn zeroes_are_counted_from_the_end() {
        for (ones, zeroes) in [(0, 0), (0, 1), (0, 40), (1, 0), (1, 15), (1, 16), (7, 33), (40, 17)]
        {
            let mut data = vec![1; ones];
            data.resize(ones + zeroes, 0);
            assert_eq!(zeroes_at_end(&data), zeroes, "{ones} ones");
        }
    }
}
