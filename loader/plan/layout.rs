//! The segments of a plan as they are placed one after the other.

use alloc::{borrow::Cow, vec::Vec};

use crate::facts::{Facts, MemoryKind, MemoryRange};
use crate::plan::error::Shortage;
use crate::plan::place::{End, NoRoom, Space, Wanted};
use crate::plan::{PlanError, Request, Segment, Target, What};
use crate::range::{self, PhysRange};

/// Segments are whole pages.
pub const PAGE: u64 = 4096;
/// What a 32-bit address reaches.
pub const LOW_4G: PhysRange = PhysRange::new(0, 1 << 32);
/// No limit.
pub const ANYWHERE: PhysRange = PhysRange::new(0, u64::MAX);
/// Below it are the BIOS's data, the real-mode vectors and the legacy video memory; the kernel
/// itself puts its real-mode trampolines there.
const LOW_1M: u64 = 1 << 20;

/// What is placed already, and what is free.
#[derive(Debug)]
pub struct Layout<'a> {
    space: Space,
    /// From the lowest byte that may be used to the highest.
    extent: PhysRange,
    /// In the order in which they were placed.
    pub segments: Vec<Segment<'a>>,
}

impl<'a> Layout<'a> {
    /// Nothing is placed. Free is, between mem_min and mem_max:
    ///
    /// - for a crash kernel the highest "Crash kernel" range. When there are two, the other one
    ///   is the low memory for the capture kernel's DMA, and kexec_load refuses segments there
    ///   (kernel 6.1 kernel/kexec_core.c, `sanity_check_segment_list` knows `crashk_res` alone);
    /// - for a reboot what both the firmware and the running kernel call RAM: the running kernel
    ///   may have reserved tables that the firmware left in RAM (EFI's memory attributes, TPM
    ///   log and the like). The kernel copies the segments there at the very end, so memory
    ///   that is in use now is as good as any.
    pub fn new(request: &Request<'_>, facts: &Facts) -> Result<Self, PlanError> {
        let options = &request.options;
        let window = PhysRange::inclusive(options.mem_min, options.mem_max);
        let memory = match request.target {
            Target::Crash => {
                let reserved = facts.crash_ranges.iter().filter(|range| !range.is_empty()).max();
                alloc::vec![*reserved.ok_or(PlanError::NoCrashMemory)?]
            }
            Target::Reboot => reboot_memory(facts),
        };
        let free = memory.iter().filter_map(|range| range.intersection(&window)).collect();
        let space = Space::new(free);
        let (Some(first), Some(last)) = (space.free().first(), space.free().last()) else {
            return Err(PlanError::NoMemory { window });
        };
        let extent = PhysRange::new(first.start, last.end);
        Ok(Self { space, extent, segments: Vec::new() })
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
        let align = align.max(PAGE);
        let size = size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX).max(PAGE);
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

fn reboot_memory(facts: &Facts) -> Vec<PhysRange> {
    let (ram, rest): (Vec<&MemoryRange>, Vec<&MemoryRange>) =
        facts.firmware_map.iter().partition(|entry| entry.kind == MemoryKind::Ram);
    let ram: Vec<_> = ram.iter().map(|entry| entry.range).collect();
    // A sloppy firmware's entries overlap: RAM is what nothing else claims.
    let mut not_ram: Vec<_> = rest.iter().map(|entry| entry.range).collect();
    not_ram.push(PhysRange::new(0, LOW_1M));
    if !facts.system_ram.is_empty() {
        not_ram.extend(range::subtract(&[ANYWHERE], &facts.system_ram));
    }
    range::subtract(&ram, &not_ram).iter().filter_map(whole_pages).collect()
}

fn whole_pages(range: &PhysRange) -> Option<PhysRange> {
    let start = range.start.checked_next_multiple_of(PAGE)?;
    let pages = PhysRange::new(start, range.end & !(PAGE - 1));
    (!pages.is_empty()).then_some(pages)
}
