//! Where in an ELF core the bytes of a physical address are.

use std::ops::Range;

use super::Load;

/// The segments of a core by physical address, without overlaps: x86_64's loader describes the
/// kernel's image a second time, at its other virtual address.
#[derive(Debug)]
pub(super) struct Segments {
    /// Sorted.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    end: u64,
    /// Of `start`, in the file.
    offset: u64,
}

impl Segments {
    pub(super) fn new(loads: &[Load]) -> Self {
        let mut sorted: Vec<&Load> = loads.iter().collect();
        sorted.sort_by_key(|load| load.p_paddr);
        let mut segments: Vec<Segment> = Vec::with_capacity(loads.len());
        for load in sorted {
            let start = segments.last().map_or(load.p_paddr, |last| last.end.max(load.p_paddr));
            // The parser checked both sums.
            let end = load.p_paddr + load.p_filesz;
            if start < end {
                segments.push(Segment { start, end, offset: load.offset + (start - load.p_paddr) });
            }
        }
        Self { segments }
    }

    /// File offset of a physical address, and how many bytes follow it there.
    pub(super) fn locate(&self, address: u64) -> Option<(u64, u64)> {
        let after = self.segments.partition_point(|segment| segment.start <= address);
        let segment = self.segments[..after].last().filter(|segment| address < segment.end)?;
        Some((segment.offset + (address - segment.start), segment.end - address))
    }

    /// The parts of `range` that are in the file, in order.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.segments.partition_point(|segment| segment.end <= range.start);
        self.segments[first..]
            .iter()
            .take_while(move |segment| segment.start < range.end)
            .map(move |segment| segment.start.max(range.start)..segment.end.min(range.end))
    }
}
