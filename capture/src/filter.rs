//! Which pages of a dead kernel's memory are worth keeping, by what VMCOREINFO says alone: no
//! debugging information is needed. What it does not say keeps pages, with a note.
//!
//! The tests of a page are makedumpfile's, for kernels from 4.19 to 7.1. They read its `struct
//! page` (`struct_page`), which is found by the memory map (`memory_map`).

mod level;
mod memory_map;
mod note;
mod struct_page;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use level::{Level, LevelError};

use crate::address::{AddressSpace, KernelMemory, Virtual};
use crate::spare::Spare;
use crate::vmcore::Vmcore;
use memory_map::{MapError, MemoryMap, Run};
use note::Note;
use struct_page::{MAX_ORDER, PageLayout, Verdict};

/// Why a page is left out of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// It is not.
    Keep,
    /// Page cache without private data.
    Cache,
    /// Page cache with private data of a file system.
    CachePrivate,
    /// Memory of a user process.
    User,
    /// Free memory.
    Free,
    /// Broken memory: to read it would end the capture kernel too.
    HwPoison,
    /// Memory that was given back to the hypervisor, or was never there.
    Offline,
}

/// Bytes of `struct page`s that are looked at together.
const CHUNK: usize = 1 << 20;
/// The dead kernel's memory can be there or not in units of this many bytes.
const SMALLEST_PAGE: u64 = 4096;

/// Decides for each page whether it is kept.
#[derive(Debug)]
pub struct PageFilter<'a> {
    core: &'a Vmcore,
    /// `None` if the state of no page can be known.
    state: Option<State>,
    notes: Vec<Note>,
    /// Pages that the dump has whose `struct page` could not be read.
    unreadable: AtomicU64,
    /// For `struct page`s.
    buffers: Spare,
}

/// What the state of pages is read by.
#[derive(Debug)]
struct State {
    space: Arc<AddressSpace>,
    layout: PageLayout,
    map: MemoryMap,
}

impl<'a> PageFilter<'a> {
    /// A filter for the memory in `core`. It never fails: what is unknown is kept.
    pub fn new(core: &'a Vmcore, level: Level) -> Self {
        let mut notes = Vec::new();
        let state = State::new(core, level, &mut notes);
        let state = state.map_err(|error| notes.push(Note::NoMemoryMap(error))).ok();
        Self { core, state, notes, unreadable: AtomicU64::new(0), buffers: Spare::default() }
    }

    /// What is kept that the level would leave out, and why. After [`classify`](Self::classify)
    /// there may be more of them.
    pub fn notes(&self) -> Vec<String> {
        let unreadable = self.unreadable.load(Ordering::Relaxed);
        let unreadable = (unreadable > 0).then_some(Note::Unreadable { pages: unreadable });
        self.notes.iter().chain(&unreadable).map(ToString::to_string).collect()
    }

    /// What a window of [`classify`](Self::classify) has to begin and to end at a multiple of, in
    /// pages, so that no free block reaches from one into another.
    pub fn alignment(&self) -> u64 {
        self.state.as_ref().map_or(1, |state| state.layout.largest_free_block())
    }

    /// Decides for the pages from page frame number `first_pfn` on, as many as `kinds` has room
    /// for. Several threads can do so at once, each for another window.
    pub fn classify(&self, first_pfn: u64, kinds: &mut [PageKind]) {
        kinds.fill(PageKind::Keep);
        let Some(state) = &self.state else { return };
        let window = first_pfn..first_pfn.saturating_add(kinds.len() as u64);
        let memory = KernelMemory::within(self.core, Arc::clone(&state.space));
        let mut scan = Scan { state, memory, window, kinds, block: (PageKind::Keep, 0) };
        let mut buffer = self.buffers.take();
        let unreadable = scan.run(&mut buffer);
        self.buffers.give(buffer);
        self.unreadable.fetch_add(unreadable, Ordering::Relaxed);
    }
}

impl State {
    fn new(core: &Vmcore, level: Level, notes: &mut Vec<Note>) -> Result<Self, MapError> {
        let (layout, unknown) = PageLayout::new(core.headers(), level)?;
        let mut memory = KernelMemory::new(core)?;
        let map = MemoryMap::find(&mut memory, layout.size() as u64)?;
        notes.extend(unknown);
        if let Some(pfn) = map.incomplete_from() {
            let page_size = core.headers().info.page_size()?;
            notes.push(Note::TooManyRuns { from: pfn.saturating_mul(page_size) });
        }
        Ok(Self { space: Arc::clone(memory.space()), layout, map })
    }
}

/// A window that is being looked at.
struct Scan<'a> {
    state: &'a State,
    memory: KernelMemory<'a>,
    /// Page frame numbers.
    window: Range<u64>,
    kinds: &'a mut [PageKind],
    /// The kind of all pages before this page frame number.
    block: (PageKind, u64),
}

impl Scan<'_> {
    /// Returns the number of pages whose `struct page` cannot be read. `buffer` is for what is read.
    fn run(&mut self, buffer: &mut Vec<u8>) -> u64 {
        let state = self.state;
        let size = state.layout.size();
        let chunk_pages = 1usize << (CHUNK / size).ilog2();
        let mut unreadable = 0;
        for run in state.map.runs(self.window.clone()) {
            let end = run.pfns.end.min(self.window.end);
            let mut pfn = run.pfns.start.max(self.window.start);
            while pfn < end {
                // Chunks end where the second page of a compound page is not cut off.
                let pages = chunk_pages as u64 - pfn % chunk_pages as u64;
                let pfns = pfn..pfn.saturating_add(pages).min(end);
                pfn = pfns.end;
                unreadable += self.chunk(run, pfns, buffer);
            }
        }
        unreadable
    }

    /// Looks at `struct page`s that `buffer` has room for, which are in `run`.
    fn chunk(&mut self, run: &Run, pfns: Range<u64>, buffer: &mut Vec<u8>) -> u64 {
        let size = self.state.layout.size();
        let start = run.address(pfns.start, size as u64);
        let length = usize::try_from(pfns.end - pfns.start).unwrap_or_default() * size;
        buffer.resize(length, 0);
        let mut unreadable = 0;
        let mut counted = pfns.start;
        let mut at = 0;
        while at < length {
            let from = start.0.wrapping_add(at as u64);
            let read = self.memory.read_much(Virtual(from), &mut buffer[at..]);
            let readable = at.div_ceil(size)..(at + read) / size;
            if !readable.is_empty() {
                let bytes = readable.start * size..readable.end * size;
                self.look(pfns.start + readable.start as u64, &buffer[bytes]);
            }
            at += read;
            if at < length {
                let end =
                    at as u64 + SMALLEST_PAGE - from.wrapping_add(read as u64) % SMALLEST_PAGE;
                let next = usize::try_from(end).unwrap_or(length).min(length);
                let lost = pfns.start + (at / size) as u64..pfns.start + next.div_ceil(size) as u64;
                // A structure can be in two pieces.
                unreadable += self.state.map.pages_in_ram(&(counted.max(lost.start)..lost.end));
                counted = lost.end;
                at = next;
            }
        }
        unreadable
    }

    /// Looks at these `struct page`s, which begin with that of `first`.
    fn look(&mut self, first: u64, pages: &[u8]) {
        let layout = &self.state.layout;
        let size = layout.size();
        let skip = usize::try_from(first - self.window.start).unwrap_or(usize::MAX);
        let count = (pages.len() / size).min(self.kinds.len().saturating_sub(skip));
        let mut at = 0;
        while at < count {
            let pfn = first + at as u64;
            let page = &pages[at * size..][..size];
            if pfn >= self.block.1 {
                let second = pages.get((at + 1) * size..(at + 2) * size);
                self.block = match layout.verdict(pfn, page, second) {
                    Verdict::Block(kind, pages) => (kind, pfn.saturating_add(pages)),
                    Verdict::Tail if pfn == self.window.start => self.block_around(pfn),
                    Verdict::Tail => (PageKind::Keep, pfn + 1),
                };
            }
            let (kind, end) = self.block;
            let end = usize::try_from(end - first).unwrap_or(usize::MAX).min(count);
            self.kinds[skip + at..skip + end].fill(kind);
            if kind == PageKind::Keep && layout.knows_poison() {
                for page in at..end {
                    if layout.is_poisoned(&pages[page * size..][..size]) {
                        self.kinds[skip + page] = PageKind::HwPoison;
                    }
                }
            }
            at = end;
        }
    }

    /// The compound page that `pfn` is in the midst of. It starts where one of its size can.
    fn block_around(&mut self, pfn: u64) -> (PageKind, u64) {
        let mut candidate = pfn;
        for order in 1..=MAX_ORDER {
            let start = pfn & !((1 << order) - 1);
            if start == candidate {
                continue;
            }
            candidate = start;
            if let Some(Verdict::Block(kind, pages)) = self.verdict(candidate)
                && candidate.saturating_add(pages) > pfn
            {
                return (kind, candidate.saturating_add(pages));
            }
        }
        (PageKind::Keep, pfn.saturating_add(1))
    }

    /// What the `struct page` of any page decides.
    fn verdict(&mut self, pfn: u64) -> Option<Verdict> {
        let state = self.state;
        let size = state.layout.size();
        let run = state.map.runs(pfn..pfn.saturating_add(1)).next()?;
        let mut pages = vec![0; 2 * size];
        self.memory.read(run.address(pfn, size as u64), &mut pages).ok()?;
        let (page, second) = pages.split_at(size);
        Some(state.layout.verdict(pfn, page, Some(second)))
    }
}

#[cfg(test)]
mod test_memory;
#[cfg(test)]
mod tests;
