//! Which pages are wanted, window by window.

use std::ops::Range;

use super::parallel::{self, Threads};
use super::{Counts, Error, Progress, Stage};
use crate::filter::{Level, PageFilter, PageKind};
use crate::vmcore::Vmcore;

/// Bytes of memory in a window, unless the dead kernel's largest free block is larger: small enough
/// that the threads get equal shares of a small machine.
const WINDOW: u64 = 16 << 20;

/// The pages of a core that a dump level keeps.
pub(super) struct Selection<'a> {
    pub core: &'a Vmcore,
    /// Of a page in bytes.
    pub page_size: usize,
    /// Page frames that are RAM.
    pub ram: Vec<Range<u64>>,
    filter: PageFilter<'a>,
    window_pages: u64,
}

/// The pages of a window.
pub(super) struct Window {
    /// The first page frame.
    pub first: u64,
    /// Whether each page is wanted.
    pub wanted: Vec<bool>,
    /// What became of them.
    pub counts: Counts,
}

impl Window {
    /// Page frames of its wanted pages, as ranges of at most `most` pages.
    pub fn runs(&self, most: usize) -> impl Iterator<Item = Range<u64>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at + self.wanted[at..].iter().position(|wanted| *wanted)?;
            let length = self.wanted[start..].iter().take(most).take_while(|wanted| **wanted);
            at = start + length.count();
            Some(self.first + start as u64..self.first + at as u64)
        })
    }
}

impl<'a> Selection<'a> {
    pub fn new(core: &'a Vmcore, level: Level) -> Self {
        let filter = PageFilter::new(core, level);
        let page_size = core.headers().page_size;
        Self {
            core,
            page_size: usize::try_from(page_size).unwrap_or(usize::MAX),
            ram: core.headers().ram(),
            window_pages: (WINDOW / page_size).max(filter.alignment()).max(1),
            filter,
        }
    }

    /// What the user has to know of pages that could not be left out.
    pub fn notes(&self) -> Vec<String> {
        self.filter.notes()
    }

    /// The page frame after the last one.
    pub fn max_mapnr(&self) -> u64 {
        self.ram.last().map_or(0, |range| range.end)
    }

    /// Pages of RAM.
    pub fn pages_of_ram(&self) -> u64 {
        self.ram.iter().map(|range| range.end - range.start).sum()
    }

    /// First page frames of the windows with RAM, in order.
    pub fn windows(&self) -> impl Iterator<Item = u64> + Send {
        let size = self.window_pages;
        let mut done = 0;
        self.ram.iter().flat_map(move |range| {
            let first = (range.start / size * size).max(done);
            done = range.end.next_multiple_of(size);
            (first..done).step_by(self.window_length())
        })
    }

    /// Pages of a window.
    pub fn window_length(&self) -> usize {
        usize::try_from(self.window_pages).unwrap_or(usize::MAX)
    }

    /// What is wanted of the window that starts at page frame `first`.
    pub fn window(&self, first: u64) -> Result<Window, Error> {
        let length = self.window_length();
        let mut dumped = vec![false; length];
        // What is not RAM stays unwanted, whatever a damaged core has of it.
        let mut wanted = vec![false; length];
        let mut kinds = vec![PageKind::Keep; length];
        self.core.dumped(first, &mut dumped)?;
        self.filter.classify(first, &mut kinds);
        let mut counts = Counts::default();
        for index in self.ram_of(first).flatten() {
            if kinds[index] != PageKind::Keep || dumped[index] {
                counts.add_page(kinds[index]);
            } else {
                counts.total += 1;
                counts.missing += 1;
            }
            wanted[index] = dumped[index] && kinds[index] == PageKind::Keep;
        }
        Ok(Window { first, wanted, counts })
    }

    /// The window with as many wanted pages as were planned for it. The memory of a dead kernel
    /// does not change, unless a device still writes to it; then a page more or less is saved.
    pub fn planned_window(&self, first: u64, planned: u32) -> Result<Window, Error> {
        let mut window = self.window(first)?;
        let mut missing = i64::from(planned) - i64::try_from(window.counts.kept).unwrap_or(0);
        for index in self.ram_of(first).flatten() {
            if missing == 0 {
                break;
            }
            let is_wanted = missing > 0;
            if window.wanted[index] != is_wanted {
                window.wanted[index] = is_wanted;
                missing -= missing.signum();
            }
        }
        Ok(window)
    }

    /// The parts of a window that are RAM, as indices into it.
    pub fn ram_of(&self, first: u64) -> impl Iterator<Item = Range<usize>> {
        let end = first + self.window_pages;
        let start = self.ram.partition_point(|range| range.end <= first);
        let index = move |pfn: u64| usize::try_from(pfn - first).unwrap_or(usize::MAX);
        self.ram[start..]
            .iter()
            .take_while(move |range| range.start < end)
            .map(move |range| index(range.start.max(first))..index(range.end.min(end)))
    }

    /// How many pages of each window are wanted, and what becomes of all pages.
    pub fn count(
        &self,
        threads: Threads,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(Vec<u32>, Counts), Error> {
        let mut planned = Vec::new();
        let mut all = Counts::default();
        let total = self.pages_of_ram();
        parallel::in_order(
            threads,
            self.windows(),
            || |_, first, emit| emit(self.window(first)?.counts, 0),
            |counts: Counts| {
                planned.push(u32::try_from(counts.kept).unwrap_or(u32::MAX));
                all.add(&counts);
                progress(&Progress { stage: Stage::Count, done: all.total, total, written: 0 });
                Ok(())
            },
        )?;
        Ok((planned, all))
    }
}
