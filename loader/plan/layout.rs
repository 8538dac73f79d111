//! The segments of a plan as they are placed one after the other.

use alloc::{borrow::Cow, vec::Vec};

use crate::facts::Facts;
use crate::plan::error::Shortage;
use crate::plan::place::{End, NoRoom, Space, Wanted};
use crate::plan::{PlanError, Segment, What};
use crate::range::PhysRange;

/// No limit.
pub const ANYWHERE: PhysRange = PhysRange::new(0, u64::MAX);

/// The memory for a crash kernel's segments: the highest "Crash kernel" range. When there are two,
/// the other one is the low memory for the capture kernel's DMA, and kexec_load refuses segments
/// there (kernel 6.1 kernel/kexec_core.c, `sanity_check_segment_list` knows `crashk_res` alone).
pub fn crash_memory(facts: &Facts) -> Result<PhysRange, PlanError> {
    let reserved = facts.crash_ranges.iter().filter(|range| !range.is_empty()).max();
    reserved.copied().ok_or(PlanError::NoCrashMemory)
}

/// What is placed already, and what is free.
#[derive(Debug)]
pub struct Layout<'a> {
    space: Space,
    /// From the lowest byte that may be used to the highest.
    extent: PhysRange,
    page: u64,
    /// In the order in which they were placed.
    pub segments: Vec<Segment<'a>>,
}

impl<'a> Layout<'a> {
    /// Nothing is placed. What of `memory` is in `window` is free. Segments are whole pages of
    /// `page` bytes, a power of two: the running kernel's page size.
    pub fn new(memory: &[PhysRange], window: PhysRange, page: u64) -> Result<Self, PlanError> {
        let free = memory.iter().filter_map(|range| range.intersection(&window)).collect();
        let space = Space::new(free);
        let (Some(first), Some(last)) = (space.free().first(), space.free().last()) else {
            return Err(PlanError::NoMemory { window });
        };
        let extent = PhysRange::new(first.start, last.end);
        Ok(Self { space, extent, page, segments: Vec::new() })
    }

    /// Bytes of a page.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// From the lowest byte that may be used to the highest.
    pub fn extent(&self) -> PhysRange {
        self.extent
    }

    /// Finds room in the first of `windows` that has it, in whole pages.
    pub fn take(
        &mut self,
        what: What,
        size: u64,
        align: u64,
        end: End,
        windows: &[PhysRange],
    ) -> Result<PhysRange, PlanError> {
        let align = align.max(self.page);
        let size = size.checked_next_multiple_of(self.page).unwrap_or(u64::MAX).max(self.page);
        let mut shortage: Option<Shortage> = None;
        for window in windows {
            let window = window.intersection(&self.extent).unwrap_or_default();
            let wanted = Wanted { size, align, window, end };
            match self.space.take(&wanted) {
                Ok(start) => return Ok(PhysRange::new(start, start.saturating_add(size))),
                Err(NoRoom { largest }) if shortage.is_none_or(|best| best.largest <= largest) => {
                    shortage = Some(Shortage { wanted, largest });
                }
                Err(NoRoom { .. }) => {}
            }
        }
        let nowhere = Wanted { size, align, window: PhysRange::default(), end };
        let shortage = shortage.unwrap_or(Shortage { wanted: nowhere, largest: 0 });
        Err(PlanError::NoRoom { what, shortage })
    }

    /// Puts a segment into memory that [`take`](Self::take) found.
    pub fn put(&mut self, what: What, data: Cow<'a, [u8]>, at: PhysRange) {
        self.segments.push(Segment {
            what,
            data,
            address: at.start,
            memsz: at.len(),
            digest: None,
        });
    }
}
