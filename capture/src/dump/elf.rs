//! ELF core dumps: the segments of the core, cut up around pages that are left out. The first look
//! at the memory finds the ranges of wanted pages, which the headers describe.
//!
//! A segment that describes memory which another one has too (x86_64's loader adds the kernel's
//! image at its own virtual address) refers to the same bytes of the file. Pages of zeros, whether
//! the level leaves them out or not, are holes of the file.

use std::ops::Range;

use object::elf::{EM_386, ET_CORE, EV_CURRENT, PF_R, PF_W, PF_X, PN_XNUM, PT_LOAD, PT_NOTE};
use object::{Endian, Endianness};

use super::parallel::{self, Emit};
use super::selection::Selection;
use super::sink::{Growing, Sink};
use super::verify::{Sample, Sampler, Written};
use super::{Counts, Error, Format, Options, Progress, Stage, is_zero};
use crate::vmcore::{Headers, Load};

/// Ranges of pages before they are joined: what older readers take is less than twice of this.
const MAX_RUNS: usize = 32768;

/// Segments that a header can count without the extension for more of them (gabi, `PN_XNUM`), which
/// not all readers know; one of them has the notes.
const MAX_LOADS: usize = PN_XNUM as usize - 2;

/// Bytes of memory that are read, and handed on, at once.
const READ: usize = 256 << 10;

/// A range of pages in the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    pfns: Range<u64>,
    /// Of the first page, in the file.
    offset: u64,
}

/// Pages, one after the other, as they are in the file.
enum Piece {
    /// What they contain, and a sample of it.
    Pages { memory: Vec<u8>, sample: Option<Sample> },
    /// Pages of zeros: of those that are wanted, and of others that stand between wanted ones.
    Zeros { wanted: u64, others: u64 },
}

pub(super) fn write(
    selection: &Selection<'_>,
    options: &Options,
    sink: &mut Sink<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Counts, Written), Error> {
    let (mut runs, mut counts) = wanted_runs(selection, options, progress)?;
    let headers = selection.core.headers();
    let page_size = headers.page_size;
    let class = Class::of(headers, &runs);
    let segments = segments(&headers.loads, &runs, page_size)?;
    let notes_offset = class.size_of_headers(segments.len() + 1);
    let notes_end = notes_offset + headers.notes.len() as u64;
    let data_offset = notes_end.next_multiple_of(page_size);
    let mut offset = data_offset;
    for run in &mut runs {
        run.offset = offset;
        offset += (run.pfns.end - run.pfns.start) * page_size;
    }
    // Now that it is known how many there are, and so where the data begins.
    let segments = self::segments(&headers.loads, &runs, page_size)?;
    let mut bytes = class.encode(headers, notes_offset, &segments);
    bytes.extend(&headers.notes);
    bytes.resize(bytes.len().next_multiple_of(selection.page_size), 0);
    let first = sink.write_region(0, &bytes)?;

    let mut data = Growing::new(data_offset);
    let mut samples = Vec::new();
    let mut done = 0;
    let windows = selection.windows().count();
    let worker = || {
        let runs = &runs;
        move |number, first, emit: Emit<'_, Piece>| {
            pages_of_window(selection, runs, first, Sampler::new(number, windows), emit)
        }
    };
    let written = parallel::in_order(options.threads, selection.windows(), worker, |piece| {
        match piece {
            Piece::Pages { memory, sample } => {
                samples.extend(sample);
                done += memory.len() as u64 / page_size;
                if data.append(&memory) {
                    data.flush(sink)?;
                }
            }
            Piece::Zeros { wanted, others } => {
                counts.zero += wanted;
                done += wanted;
                data.skip_to(data.end() + (wanted + others) * page_size, sink)?;
            }
        }
        let (total, written) = (counts.kept, sink.written());
        progress(&Progress { stage: Stage::Save, done, total, written });
        Ok(())
    });
    let flushed = data.flush(sink);
    written?;
    flushed?;
    Ok((counts, Written { regions: vec![first, data.region()], samples }))
}

/// The ranges of wanted pages.
fn wanted_runs(
    selection: &Selection<'_>,
    options: &Options,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Vec<Run>, Counts), Error> {
    let mut runs = Runs::default();
    let mut counts = Counts::default();
    let total = selection.pages_of_ram();
    let work = |_, first, emit: Emit<'_, _>| {
        let window = selection.window(first)?;
        let runs: Vec<Range<u64>> = window.runs(usize::MAX).collect();
        let bytes = size_of_val(runs.as_slice());
        emit((runs, window.counts), bytes)
    };
    let count = |(found, of_window): (Vec<Range<u64>>, Counts)| {
        found.into_iter().for_each(|pfns| runs.push(pfns));
        counts.add(&of_window);
        progress(&Progress { stage: Stage::Count, done: counts.total, total, written: 0 });
        Ok(())
    };
    parallel::in_order(options.threads, selection.windows(), || work, count)?;
    Ok((runs.runs.into_iter().map(|pfns| Run { pfns, offset: 0 }).collect(), counts))
}

/// Ranges that are joined when there are too many of them.
#[derive(Default)]
struct Runs {
    runs: Vec<Range<u64>>,
    /// Ranges with fewer pages than this between them are one.
    gap: u64,
}

impl Runs {
    fn push(&mut self, pfns: Range<u64>) {
        match self.runs.last_mut() {
            Some(last) if pfns.start - last.end <= self.gap => last.end = pfns.end,
            Some(_) | None => self.runs.push(pfns),
        }
        while self.runs.len() > MAX_RUNS {
            self.gap = (self.gap * 2).max(1);
            let gap = self.gap;
            self.runs.dedup_by(|next, last| {
                let joined = next.start - last.end <= gap;
                last.end = if joined { next.end } else { last.end };
                joined
            });
        }
    }
}

/// What the file has of each of the core's segments.
fn segments(loads: &[Load], runs: &[Run], page_size: u64) -> Result<Vec<Load>, Error> {
    let mut segments = Vec::new();
    for load in loads {
        let end = load.p_paddr + load.p_filesz;
        let first = runs.partition_point(|run| run.pfns.end * page_size <= load.p_paddr);
        for run in runs[first..].iter().take_while(|run| run.pfns.start * page_size < end) {
            let run_start = run.pfns.start * page_size;
            let p_paddr = run_start.max(load.p_paddr);
            let length = end.min(run.pfns.end * page_size) - p_paddr;
            if segments.len() == MAX_LOADS {
                // Only segments that overlap can be more than the runs.
                let what = format!("more than {MAX_LOADS} segments");
                return Err(Error::TooLarge { what, format: Format::Elf });
            }
            let skip = p_paddr - load.p_paddr;
            segments.push(Load {
                offset: run.offset + (p_paddr - run_start),
                p_paddr,
                p_vaddr: load
                    .virtual_start()
                    .map_or(load.p_vaddr, |start| start.0.wrapping_add(skip)),
                p_filesz: length,
                p_memsz: length,
            });
        }
    }
    Ok(segments)
}

/// Reads the pages of a window that are in `runs`.
fn pages_of_window(
    selection: &Selection<'_>,
    runs: &[Run],
    first: u64,
    mut sampler: Sampler,
    emit: Emit<'_, Piece>,
) -> Result<(), Error> {
    let window = selection.window(first)?;
    let end = first + window.wanted.len() as u64;
    let page_size = selection.page_size;
    let most = (READ / page_size).max(1);
    let mut pieces = Pieces { memory: Vec::new(), sample: None, wanted: 0, others: 0, emit };
    let mut buffer = vec![0; most * page_size];
    let start = runs.partition_point(|run| run.pfns.end <= first);
    for run in runs[start..].iter().take_while(|run| run.pfns.start < end) {
        let (mut at, end) = (run.pfns.start.max(first), run.pfns.end.min(end));
        while at < end {
            let index = usize::try_from(at - first).unwrap_or(usize::MAX);
            let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(most);
            let same = window.wanted[index..index + left].iter();
            let is_wanted = window.wanted[index];
            let pages = same.take_while(|wanted| **wanted == is_wanted).count();
            if is_wanted {
                let memory = &mut buffer[..pages * page_size];
                selection.core.read_pages(at, memory)?;
                for (pfn, page) in (at..).zip(memory.chunks(page_size)) {
                    pieces.add_page(pfn, page, &mut sampler)?;
                }
            } else {
                pieces.flush_memory()?;
                pieces.others += pages as u64;
            }
            at += pages as u64;
        }
    }
    pieces.flush_memory()?;
    pieces.flush_zeros()
}

/// Collects pages to pieces. At any time there are either pages with content or zeros.
struct Pieces<'a> {
    memory: Vec<u8>,
    sample: Option<Sample>,
    wanted: u64,
    others: u64,
    emit: Emit<'a, Piece>,
}

impl Pieces<'_> {
    fn add_page(&mut self, pfn: u64, page: &[u8], sampler: &mut Sampler) -> Result<(), Error> {
        if is_zero(page) {
            self.flush_memory()?;
            self.wanted += 1;
            return Ok(());
        }
        self.flush_zeros()?;
        self.sample = self.sample.or_else(|| sampler.sample(pfn, page));
        self.memory.extend_from_slice(page);
        if self.memory.len() >= READ { self.flush_memory() } else { Ok(()) }
    }

    fn flush_memory(&mut self) -> Result<(), Error> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let memory = std::mem::take(&mut self.memory);
        let bytes = memory.len();
        (self.emit)(Piece::Pages { memory, sample: self.sample.take() }, bytes)
    }

    fn flush_zeros(&mut self) -> Result<(), Error> {
        let (wanted, others) = (std::mem::take(&mut self.wanted), std::mem::take(&mut self.others));
        if wanted + others == 0 { Ok(()) } else { (self.emit)(Piece::Zeros { wanted, others }, 0) }
    }
}

/// Word size and byte order of the file.
#[derive(Clone, Copy)]
struct Class {
    is_64: bool,
    endianness: Endianness,
}

/// Room that headers and notes of a 32-bit file may take.
const HEADERS_32: u64 = 64 << 20;

impl Class {
    /// A 32-bit machine gets 64-bit headers when it needs them.
    fn of(headers: &Headers, runs: &[Run]) -> Self {
        let end = headers.loads.iter().map(|load| load.p_paddr + load.p_memsz).max();
        let pages: u64 = runs.iter().map(|run| run.pfns.end - run.pfns.start).sum();
        let size = (pages * headers.page_size).max(end.unwrap_or(0)) + HEADERS_32;
        Self { is_64: headers.machine != EM_386 || size > 1 << 32, endianness: headers.endianness }
    }

    fn header_sizes(self) -> (u16, u16) {
        if self.is_64 { (64, 56) } else { (52, 32) }
    }

    fn size_of_headers(self, segments: usize) -> u64 {
        let (header, segment) = self.header_sizes();
        u64::from(header) + u64::from(segment) * segments as u64
    }

    /// The ELF header and the program headers.
    fn encode(self, headers: &Headers, notes_offset: u64, segments: &[Load]) -> Vec<u8> {
        let (header_size, segment_size) = self.header_sizes();
        let order = if self.endianness.is_big_endian() { 2 } else { 1 };
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([if self.is_64 { 2 } else { 1 }, order, EV_CURRENT.0]);
        bytes.resize(16, 0);
        self.u16(&mut bytes, ET_CORE.0);
        self.u16(&mut bytes, headers.machine.0);
        self.u32(&mut bytes, EV_CURRENT.0.into());
        for address in [0, header_size.into(), 0] {
            self.address(&mut bytes, address);
        }
        self.u32(&mut bytes, 0);
        // At most MAX_LOADS and the notes.
        let count = u16::try_from(segments.len() + 1).unwrap_or(PN_XNUM - 1);
        for number in [header_size, segment_size, count, 0, 0, 0] {
            self.u16(&mut bytes, number);
        }
        let length = headers.notes.len() as u64;
        let note =
            Load { offset: notes_offset, p_filesz: length, p_memsz: length, ..Load::default() };
        self.segment(&mut bytes, PT_NOTE.0, 0, &note);
        for load in segments {
            self.segment(&mut bytes, PT_LOAD.0, (PF_R | PF_W | PF_X).0, load);
        }
        bytes
    }

    fn segment(self, bytes: &mut Vec<u8>, p_type: u32, flags: u32, load: &Load) {
        self.u32(bytes, p_type);
        // The flags stand second in ELF64 and second to last in ELF32.
        if self.is_64 {
            self.u32(bytes, flags);
        }
        for address in [load.offset, load.p_vaddr, load.p_paddr, load.p_filesz, load.p_memsz] {
            self.address(bytes, address);
        }
        if !self.is_64 {
            self.u32(bytes, flags);
        }
        self.address(bytes, 0);
    }

    fn u16(self, bytes: &mut Vec<u8>, number: u16) {
        bytes.extend(self.endianness.write_u16(number));
    }

    fn u32(self, bytes: &mut Vec<u8>, number: u32) {
        bytes.extend(self.endianness.write_u32(number));
    }

    /// An address, offset or size. [`Class::of`] saw that they fit, and what is no address is all
    /// ones.
    #[expect(clippy::cast_possible_truncation)]
    fn address(self, bytes: &mut Vec<u8>, number: u64) {
        if self.is_64 {
            bytes.extend(self.endianness.write_u64(number));
        } else {
            self.u32(bytes, number as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    /// Memory of `pages` pages from physical 0 on.
    fn load(pages: u64, p_vaddr: u64) -> Load {
        let size = pages * PAGE;
        Load { offset: 0, p_paddr: 0, p_vaddr, p_filesz: size, p_memsz: size }
    }

    /// Every other page.
    fn runs(count: u64) -> Vec<Run> {
        (0..count).map(|run| Run { pfns: 2 * run..2 * run + 1, offset: run * PAGE }).collect()
    }

    #[test]
    fn what_has_no_virtual_address_gets_none() {
        let starts = |p_vaddr| {
            let segments = segments(&[load(4, p_vaddr)], &runs(2), PAGE).unwrap();
            segments.iter().map(|segment| segment.p_vaddr).collect::<Vec<_>>()
        };
        assert_eq!(starts(0xc000_0000), [0xc000_0000, 0xc000_2000]);
        for unknown in [0, u32::MAX.into(), u64::MAX] {
            assert_eq!(starts(unknown), [unknown; 2]);
        }
    }

    #[test]
    fn more_segments_than_can_be_counted_are_refused() {
        let count = MAX_RUNS as u64;
        let one = load(2 * count, 0);
        assert_eq!(segments(&[one], &runs(count), PAGE).unwrap().len(), MAX_RUNS);
        let refused = segments(&[one; 3], &runs(count), PAGE);
        assert!(matches!(refused, Err(Error::TooLarge { format: Format::Elf, .. })));
    }
}
