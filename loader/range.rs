//! Half-open ranges of physical addresses, and sets of them.

use alloc::vec::Vec;
use core::fmt;

/// Physical addresses `[start, end)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysRange {
    /// First byte.
    pub start: u64,
    /// First byte after the range; `start <= end`.
    pub end: u64,
}

impl PhysRange {
    /// `[start, end)`; an inverted pair becomes empty at `start`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// `length` bytes from `start`, or `None` past the end of the address space.
    pub fn at(start: u64, length: u64) -> Option<Self> {
        Some(Self { start, end: start.checked_add(length)? })
    }

    /// From the inclusive end that /proc/iomem and firmware maps use; the last byte of the
    /// address space cannot be expressed and is left out.
    pub fn inclusive(start: u64, last: u64) -> Self {
        Self::new(start, last.saturating_add(1))
    }

    /// Number of bytes.
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether every byte of `other` is in it.
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The bytes in both, or `None`.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (!both.is_empty() && both.start < both.end).then_some(both)
    }

    /// Whether any byte is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The way /proc/iomem writes it: hexadecimal, inclusive end.
impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.end.saturating_sub(1))
    }
}

/// Sorts the ranges and merges those that touch or overlap; drops empty ones.
pub fn normalize(ranges: &mut Vec<PhysRange>) {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joined = next.start <= kept.end;
        if joined {
            kept.end = kept.end.max(next.end);
        }
        joined
    });
}

/// What of `from` is in none of `holes`. The result is sorted and disjoint.
pub fn subtract(from: &[PhysRange], holes: &[PhysRange]) -> Vec<PhysRange> {
    let mut rest = from.to_vec();
    let mut holes = holes.to_vec();
    normalize(&mut rest);
    normalize(&mut holes);
    let mut left = Vec::with_capacity(rest.len());
    for range in rest {
        let mut start = range.start;
        // `holes` is sorted and disjoint: skip those that end before this range.
        let first = holes.partition_point(|hole| hole.end <= start);
        for hole in holes[first..].iter().take_while(|hole| hole.start < range.end) {
            if hole.start > start {
                left.push(PhysRange::new(start, hole.start));
            }
            start = start.max(hole.end);
        }
        if start < range.end {
            left.push(PhysRange::new(start, range.end));
        }
    }
    left
}

/// The bytes in both: the parts of each range of `of`, in its order, that are in `with`.
pub fn intersect(of: &[PhysRange], with: &[PhysRange]) -> Vec<PhysRange> {
    let mut with = with.to_vec();
    normalize(&mut with);
    of.iter().flat_map(|range| with.iter().filter_map(|other| range.intersection(other))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Vec<PhysRange> {
        pairs.iter().map(|&(start, end)| PhysRange::new(start, end)).collect()
    }

    #[test]
    fn normalize_merges_neighbours_and_drops_empty_ranges() {
        let mut set = ranges(&[(8, 9), (0, 2), (2, 4), (5, 5), (3, 6)]);
        normalize(&mut set);
        assert_eq!(set, ranges(&[(0, 6), (8, 9)]));
    }

    #[test]
    fn subtract_cuts_heads_tails_and_middles() {
        let left = subtract(&ranges(&[(0, 10), (20, 30)]), &ranges(&[(0, 1), (4, 6), (9, 22)]));
        assert_eq!(left, ranges(&[(1, 4), (6, 9), (22, 30)]));
        assert_eq!(subtract(&ranges(&[(0, 10)]), &[]), ranges(&[(0, 10)]));
        assert_eq!(subtract(&ranges(&[(3, 5)]), &ranges(&[(0, 10)])), []);
    }

    #[test]
    fn intersect_keeps_the_order_and_cuts() {
        let both =
            intersect(&ranges(&[(20, 30), (0, 10)]), &ranges(&[(5, 22), (25, 26), (40, 50)]));
        assert_eq!(both, ranges(&[(20, 22), (25, 26), (5, 10)]));
    }

    #[test]
    fn the_top_of_the_address_space_does_not_overflow() {
        assert_eq!(PhysRange::inclusive(0, u64::MAX).end, u64::MAX);
        assert_eq!(PhysRange::at(u64::MAX, 2), None);
    }
}
