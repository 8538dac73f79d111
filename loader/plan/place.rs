//! Finding room: free memory, and where something of a size and alignment fits.

use alloc::vec::Vec;

use crate::range::{self, PhysRange};

/// Free memory.
#[derive(Clone, Debug)]
pub struct Space {
    /// Sorted and disjoint.
    free: Vec<PhysRange>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes.
    pub size: u64,
    /// Alignment of the first byte, a power of two.
    pub align: u64,
    /// Where every byte must be.
    pub window: PhysRange,
    /// Which of several places to take.
    pub end: End,
}

/// Which of the free memory is used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The lowest place.
    Bottom,
    /// The highest place.
    Top,
    /// The place that this random number chooses among all.
    Random(u64),
}

/// A number below `count` (0 if that is 0), each as likely as any other for a random number.
pub fn below(random: u64, count: u64) -> u64 {
    let product = u128::from(random) * u128::from(count);
    // The high half is below `count`.
    u64::try_from(product >> 64).unwrap_or(0)
}

/// There is no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// The most bytes, after alignment, that one free range of the window has.
    pub largest: u64,
}

impl Space {
    /// The given ranges are free.
    pub fn new(mut free: Vec<PhysRange>) -> Self {
        range::normalize(&mut free);
        Self { free }
    }

    /// The free ranges, sorted and disjoint.
    pub fn free(&self) -> &[PhysRange] {
        &self.free
    }

    /// Finds a place, marks it as used, and returns its first address.
    pub fn take(&mut self, wanted: &Wanted) -> Result<u64, NoRoom> {
        let pieces = self.free.iter().filter_map(|free| wanted.piece(free));
        let fits = |piece: &PhysRange| piece.len() >= wanted.size;
        let found = match wanted.end {
            End::Bottom => pieces.clone().find(fits).map(|piece| piece.start),
            End::Top => pieces
                .clone()
                .rfind(fits)
                .map(|piece| (piece.end - wanted.size) & !(wanted.align - 1)),
            End::Random(random) => {
                let places = |piece: &PhysRange| (piece.len() - wanted.size) / wanted.align + 1;
                let fitting = pieces.clone().filter(fits);
                let count =
                    fitting.clone().map(|piece| places(&piece)).fold(0, u64::saturating_add);
                let mut chosen = below(random, count);
                fitting.into_iter().find_map(|piece| match chosen.checked_sub(places(&piece)) {
                    Some(behind) => {
                        chosen = behind;
                        None
                    }
                    None => Some(piece.start + chosen * wanted.align),
                })
            }
        };
        let Some(start) = found else {
            return Err(NoRoom { largest: pieces.map(|piece| piece.len()).max().unwrap_or(0) });
        };
        let taken = PhysRange::new(start, start + wanted.size);
        self.free = range::subtract(&self.free, &[taken]);
        Ok(start)
    }
}

impl Wanted {
    /// The part of a free range that is in the window, from its first aligned address.
    fn piece(&self, free: &PhysRange) -> Option<PhysRange> {
        let inside = free.intersection(&self.window)?;
        let start = inside.start.checked_next_multiple_of(self.align)?;
        (start < inside.end).then(|| PhysRange::new(start, inside.end))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    const ALL: PhysRange = PhysRange::new(0, u64::MAX);

    fn space() -> Space {
        Space::new(vec![PhysRange::new(0x1000, 0x5000), PhysRange::new(0x8800, 0x2_0000)])
    }

    fn wanted(size: u64, align: u64, end: End) -> Wanted {
        Wanted { size, align, window: ALL, end }
    }

    fn any_end() -> impl Strategy<Value = End> {
        prop_oneof![Just(End::Bottom), Just(End::Top), any::<u64>().prop_map(End::Random)]
    }

    #[test]
    fn the_lowest_or_the_highest_place_is_taken() {
        assert_eq!(space().take(&wanted(0x1000, 0x1000, End::Bottom)), Ok(0x1000));
        assert_eq!(space().take(&wanted(0x5000, 0x1000, End::Bottom)), Ok(0x9000));
        assert_eq!(space().take(&wanted(0x1000, 0x1000, End::Top)), Ok(0x1_f000));
        assert_eq!(space().take(&wanted(0x1000, 0x8000, End::Top)), Ok(0x1_8000));
    }

    #[test]
    fn any_place_can_be_the_random_one() {
        let count = 4 + 0x17;
        let places: std::collections::BTreeSet<u64> = (0..=u64::MAX)
            .step_by(1 << 57)
            .map(|random| space().take(&wanted(0x1000, 0x1000, End::Random(random))).unwrap())
            .collect();
        assert_eq!(places.len(), count);
        let last = wanted(0x1000, 0x1000, End::Random(u64::MAX));
        assert_eq!(space().take(&last), Ok(0x1_f000));
        let too_large = wanted(0x2_0000, 0x1000, End::Random(1));
        assert_eq!(space().take(&too_large), Err(NoRoom { largest: 0x1_7000 }));
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_below_the_count(random: u64, count in 1_u64..) {
            prop_assert!(below(random, count) < count);
        }
    }

    #[test]
    fn what_is_taken_is_not_free_any_more() {
        let mut space = space();
        let page = wanted(0x1000, 0x1000, End::Bottom);
        assert_eq!([0; 4].map(|_| space.take(&page)), [0x1000, 0x2000, 0x3000, 0x4000].map(Ok));
        assert_eq!(space.take(&page), Ok(0x9000));
    }

    #[test]
    fn the_window_is_honoured_and_a_shortage_says_what_there_is() {
        let window = PhysRange::new(0x3000, 0xa000);
        let wanted = Wanted { window, ..wanted(0x2000, 0x1000, End::Top) };
        assert_eq!(space().take(&wanted), Ok(0x3000));
        let more = Wanted { size: 0x2001, ..wanted };
        assert_eq!(space().take(&more), Err(NoRoom { largest: 0x2000 }));
        let nowhere = Wanted { window: PhysRange::new(0x5000, 0x8000), ..wanted };
        assert_eq!(space().take(&nowhere), Err(NoRoom { largest: 0 }));
    }

    proptest! {
        #[test]
        fn places_are_free_aligned_in_the_window_and_disjoint(
            ranges in prop::collection::vec((0_u64..1 << 20, 1_u64..1 << 16), 1..12),
            wishes in prop::collection::vec(
                (1_u64..1 << 14, 0_u32..16, any_end(), 0_u64..1 << 20, 0_u64..1 << 21),
                1..12,
            ),
        ) {
            let free: Vec<_> =
                ranges.iter().map(|&(start, len)| PhysRange::new(start, start + len)).collect();
            let mut space = Space::new(free.clone());
            let mut taken: Vec<PhysRange> = Vec::new();
            for (size, shift, end, low, high) in wishes {
                let window = PhysRange::new(low, high);
                let wanted = Wanted { size, align: 1 << shift, window, end };
                let before = space.free().to_vec();
                match space.take(&wanted) {
                    Ok(start) => {
                        let place = PhysRange::new(start, start + size);
                        prop_assert!(start.is_multiple_of(wanted.align));
                        prop_assert!(window.contains(&place));
                        prop_assert_eq!(range::subtract(&[place], &free), vec![]);
                        prop_assert!(!taken.iter().any(|other| other.overlaps(&place)));
                        taken.push(place);
                    }
                    Err(NoRoom { largest }) => {
                        prop_assert!(largest < size);
                        prop_assert_eq!(space.free(), &before[..]);
                    }
                }
            }
        }
    }
}
