//! Kdump-compressed dumps ([`crate::format::kdump`]).
//!
//! Where the pages begin depends on how many descriptors there are, so wanted pages are counted
//! first. Pages of zeros count as wanted: they share one copy, so that each costs a descriptor, and
//! readers that refuse pages which are not there find them. A page that is the same as the one
//! before it shares its copy too: of a kernel's memory there is much that was filled with a pattern.
//!
//! A page whose bit is set has its descriptor and its data, also after a power cut: bits of windows
//! are kept until the disk has what they promise. Disks write in any order, and so do page caches;
//! it is assumed that a block of 4 KiB reaches the disk as a whole or not at all. The number of bits
//! before a page's own says where its descriptor is, so the bits go to the disk block by block: each
//! is there before the next is written.

use std::time::{Duration, Instant};

use object::Endianness;
use object::elf::NT_PRSTATUS;

use super::bitmap::Bitmap;
use super::parallel::{self, Emit};
use super::selection::{Selection, Window};
use super::sink::{Growing, Sink};
use super::verify::{Region, Sample, Sampler, Written};
use super::{Counts, Error, Format, Options, Progress, Stage, is_same, is_zero};
use crate::address::KernelMemory;
use crate::format::kdump::{
    self, Descriptor, Header, Part, STATUS_INCOMPLETE, SUB_HEADER_SIZE, UTSNAME_SIZE, VERSION,
};
use crate::format::page::{Compression, Compressor};
use crate::spare::Spare;
use crate::vmcore::{Headers, Note, Vmcore};

/// Bytes of memory that are read at once.
const READ: usize = 256 << 10;
/// Bytes of compressed pages that are handed on at once.
const PIECE: usize = 256 << 10;
/// How much work a power cut may cost. Waiting for the disk more often would cost more than that.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// What a worker makes of a window: pieces with pages, then its end.
enum Piece {
    Pages { places: Vec<Place>, data: Vec<u8>, samples: Vec<Sample> },
    End(Window),
}

/// What becomes of a page.
#[derive(Clone, Copy)]
enum Place {
    /// It is the common page of zeros.
    Zero,
    /// It is the same as the one before it in the window that was not zero.
    Same,
    /// So many bytes of data with these flags.
    Data { size: u32, flags: u32 },
}

pub(super) fn write(
    selection: &Selection<'_>,
    options: &Options,
    sink: &mut Sink<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Counts, Written), Error> {
    // Before the memory is looked at, which takes a while: some cores are refused.
    let mut header = header(selection, options)?;
    let (planned, mut counts) = selection.count(options.threads, progress)?;
    let notes = &selection.core.headers().notes;
    sink.write_at(0, &header.encode())?;
    let mut second = header.encode_sub_header();
    second.resize(sub_header_size(&header), 0);
    second.extend(notes);
    second.resize((header.sub_header_blocks * header.block_size) as usize, 0);
    let second = sink.write_region(header.block_size.into(), &second)?;
    let data_offset = header.descriptors_offset() + counts.kept * Descriptor::SIZE as u64;
    sink.reserve(data_offset)?;
    let ram = write_ram(selection, &header, sink)?;
    // From here on the file opens, also if power fails.
    sink.sync()?;

    let mut file = File::new(&header, data_offset, sink);
    file.write_zero_page(options.compression, selection.page_size);
    let total = counts.kept;
    let mut done = 0;
    let buffers = Spare::default();
    let worker = || {
        let mut worker = Worker::new(selection, options, &planned, &buffers);
        move |number, first, emit: Emit<'_, Piece>| worker.window(number, first, emit)
    };
    let written = parallel::in_order(options.threads, selection.windows(), worker, |piece| {
        match piece {
            Piece::Pages { places, data, samples } => {
                done += places.len() as u64;
                file.add_pages(&places, &data)?;
                buffers.give(data);
                file.samples.extend(samples);
            }
            Piece::End(window) => file.end_window(&window)?,
        }
        let written = file.sink.written();
        progress(&Progress { stage: Stage::Save, done, total, written });
        Ok(())
    });
    // What there is of an incomplete dump should be readable. But that a write failed is said only
    // once: from then on nobody can tell what the disk has. A device that has no room left was not
    // asked, and so there is no error number.
    let is_unknown = matches!(
        &written, Err(Error::Write { source, .. }) if source.raw_os_error().is_some()
    );
    let committed = if is_unknown { Ok(()) } else { file.commit() };
    written?;
    committed?;
    counts.zero = file.zero_pages;
    let (regions, samples) = file.finish()?;
    // It must not be marked as complete before it is.
    sink.sync()?;
    header.status &= !STATUS_INCOMPLETE;
    let first = sink.write_region(0, &header.encode())?;
    let regions = [first, second, ram].into_iter().chain(regions).collect();
    Ok((counts, Written { regions, samples }))
}

/// The header of a dump that is incomplete.
fn header(selection: &Selection<'_>, options: &Options) -> Result<Header, Error> {
    let headers = selection.core.headers();
    let max_mapnr = selection.max_mapnr();
    let too_large = |what| Error::TooLarge { what, format: Format::Kdump };
    let block_size = u32::try_from(headers.page_size)
        .map_err(|_| too_large(format!("pages of {} bytes", headers.page_size)))?;
    let utsname = utsname(selection.core);
    let e_machine = headers.machine.0;
    kdump::machine_of(&utsname).map_err(|_| Error::Machine { e_machine })?;
    let notes = headers.notes.len();
    let phys_base = headers.info.number("phys_base").unwrap_or(0).cast_unsigned();
    let mut header = Header {
        endianness: headers.endianness,
        machine: headers.machine,
        version: VERSION,
        utsname,
        timestamp: headers.info.text("CRASHTIME").and_then(|time| time.parse().ok()).unwrap_or(0),
        status: options.compression.flag() | STATUS_INCOMPLETE,
        block_size,
        sub_header_blocks: 0,
        bitmap_blocks: 0,
        max_mapnr,
        nr_cpus: cpus(headers),
        phys_base,
        dump_level: options.level.number().into(),
        split: false,
        start_pfn: 0,
        end_pfn: 0,
        vmcoreinfo: Part::default(),
        notes: Part::default(),
        erase_info: Part::default(),
    };
    let before_notes = sub_header_size(&header);
    let blocks = (before_notes + notes).div_ceil(block_size as usize);
    header.sub_header_blocks =
        u32::try_from(blocks).map_err(|_| too_large(format!("notes of {notes} bytes")))?;
    let bitmap_blocks = max_mapnr.div_ceil(8).div_ceil(block_size.into()).checked_mul(2);
    header.bitmap_blocks = bitmap_blocks
        .and_then(|blocks| u32::try_from(blocks).ok())
        .ok_or_else(|| too_large(format!("{max_mapnr} page frames")))?;
    if notes > 0 {
        let offset = u64::from(block_size) + before_notes as u64;
        header.notes = Part { offset, size: notes as u64 };
    }
    if let Some((at, size)) = vmcoreinfo(headers) {
        header.vmcoreinfo = Part { offset: header.notes.offset + at as u64, size: size as u64 };
    }
    Ok(header)
}

/// The sub-header's own bytes; the notes follow where their numbers are aligned.
fn sub_header_size(header: &Header) -> usize {
    header.encode_sub_header().len().max(SUB_HEADER_SIZE).next_multiple_of(8)
}

/// That of the dead kernel's memory, or what VMCOREINFO has of it.
fn utsname(core: &Vmcore) -> Vec<u8> {
    let headers = core.headers();
    let release = headers.info.text("OSRELEASE").unwrap_or("(unknown)");
    let fallback = || kdump::utsname(release, headers.machine, headers.endianness);
    // OFFSET(uts_namespace.name) is there since 3.2; before it, and in every kernel, a reference
    // count of four bytes may stand first.
    let read = || {
        let address = headers.info.symbol("init_uts_ns").ok()?;
        let address = address.plus(headers.info.offset("uts_namespace.name").ok()?).ok()?;
        let mut bytes = vec![0; UTSNAME_SIZE];
        KernelMemory::new(core).ok()?.read(address, &mut bytes).ok()?;
        Some(bytes)
    };
    read().filter(|bytes| kdump::machine_of(bytes) == Ok(headers.machine)).unwrap_or_else(fallback)
}

/// CPUs with registers among the notes.
fn cpus(headers: &Headers) -> u32 {
    let count = headers.each_note().filter(|note| note.n_type == NT_PRSTATUS.0).count();
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// Where VMCOREINFO's text is in the notes, and its length.
fn vmcoreinfo(headers: &Headers) -> Option<(usize, usize)> {
    let note = headers.each_note().find(Note::is_vmcoreinfo)?;
    Some((note.offset, note.desc.len()))
}

/// Writes the bitmap of RAM, and an empty one of pages.
fn write_ram(
    selection: &Selection<'_>,
    header: &Header,
    sink: &mut Sink<'_>,
) -> Result<Region, Error> {
    let mut bitmap = Bitmap::new(header.bitmap_offset(), header.bitmap_size());
    for first in selection.windows() {
        let mut is_ram = vec![false; selection.window_length()];
        selection.ram_of(first).for_each(|range| is_ram[range].fill(true));
        if bitmap.add(first, &is_ram) {
            bitmap.write(sink)?;
        }
    }
    let region = bitmap.finish(sink)?;
    sink.write_zeros(header.bitmap_offset() + header.bitmap_size(), header.bitmap_size())?;
    Ok(region)
}

/// Reads and compresses pages.
struct Worker<'a> {
    selection: &'a Selection<'a>,
    planned: &'a [u32],
    /// For compressed pages.
    buffers: &'a Spare,
    compressor: Compressor,
    flag: u32,
    memory: Vec<u8>,
    /// The last page of the window that was not zero; empty at its beginning.
    last: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(
        selection: &'a Selection<'a>,
        options: &Options,
        planned: &'a [u32],
        buffers: &'a Spare,
    ) -> Self {
        let pages = (READ / selection.page_size).max(1);
        Self {
            selection,
            planned,
            buffers,
            compressor: Compressor::new(options.compression, selection.page_size),
            flag: options.compression.flag(),
            memory: vec![0; pages * selection.page_size],
            last: Vec::with_capacity(selection.page_size),
        }
    }

    fn window(&mut self, number: usize, first: u64, emit: Emit<'_, Piece>) -> Result<(), Error> {
        let planned = self.planned.get(number).copied().unwrap_or_default();
        let window = self.selection.planned_window(first, planned)?;
        let page_size = self.selection.page_size;
        let mut sampler = Sampler::new(number, self.planned.len());
        let (mut places, mut data, mut samples) = (Vec::new(), self.buffers.take(), Vec::new());
        self.last.clear();
        for run in window.runs(self.memory.len() / page_size) {
            let length = usize::try_from(run.end - run.start).unwrap_or_default() * page_size;
            let memory = &mut self.memory[..length];
            self.selection.core.read_pages(run.start, memory)?;
            for (pfn, page) in run.zip(memory.chunks(page_size)) {
                if is_zero(page) {
                    places.push(Place::Zero);
                    continue;
                }
                if is_same(&self.last, page) {
                    places.push(Place::Same);
                    continue;
                }
                self.last.clear();
                self.last.extend_from_slice(page);
                samples.extend(sampler.sample(pfn, page));
                let (bytes, flags) = match self.compressor.compress(page) {
                    Some(compressed) => (compressed, self.flag),
                    None => (page, 0),
                };
                let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                places.push(Place::Data { size, flags });
                data.extend_from_slice(bytes);
            }
            if data.len() >= PIECE {
                let samples = std::mem::take(&mut samples);
                let places = std::mem::take(&mut places);
                let data = std::mem::replace(&mut data, self.buffers.take());
                emit_pages(places, data, samples, emit)?;
            }
        }
        if places.is_empty() {
            self.buffers.give(data);
        } else {
            emit_pages(places, data, samples, emit)?;
        }
        let bytes = window.wanted.len();
        emit(Piece::End(window), bytes)
    }
}

/// A buffer that was used before may be large and have little in it: what counts is its room.
fn emit_pages(
    places: Vec<Place>,
    data: Vec<u8>,
    samples: Vec<Sample>,
    emit: Emit<'_, Piece>,
) -> Result<(), Error> {
    let bytes = data.capacity() + places.capacity() * size_of::<Place>();
    emit(Piece::Pages { places, data, samples }, bytes)
}

/// The parts of the file that grow with the pages.
struct File<'a, 'b> {
    sink: &'a mut Sink<'b>,
    endianness: Endianness,
    zero_page: Descriptor,
    zero_pages: u64,
    /// That of the last page with data of its own.
    last: Descriptor,
    descriptors: Growing,
    data: Growing,
    bitmap: Bitmap,
    /// When the bitmap was written last. The first time is as soon as there is something.
    committed: Option<Instant>,
    samples: Vec<Sample>,
}

impl<'a, 'b> File<'a, 'b> {
    fn new(header: &Header, data_offset: u64, sink: &'a mut Sink<'b>) -> Self {
        let bitmap = header.bitmap_offset() + header.bitmap_size();
        Self {
            sink,
            endianness: header.endianness,
            zero_page: Descriptor { offset: data_offset, size: 0, flags: 0 },
            zero_pages: 0,
            last: Descriptor { offset: data_offset, size: 0, flags: 0 },
            descriptors: Growing::new(header.descriptors_offset()),
            data: Growing::new(data_offset),
            bitmap: Bitmap::new(bitmap, header.bitmap_size()),
            committed: None,
            samples: Vec::new(),
        }
    }

    fn write_zero_page(&mut self, compression: Compression, page_size: usize) {
        let page = vec![0; page_size];
        let mut compressor = Compressor::new(compression, page_size);
        let (bytes, flags) = match compressor.compress(&page) {
            Some(compressed) => (compressed, compression.flag()),
            None => (page.as_slice(), 0),
        };
        self.zero_page.size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.zero_page.flags = flags;
        self.data.append(bytes);
    }

    fn add_pages(&mut self, places: &[Place], data: &[u8]) -> Result<(), Error> {
        let mut descriptors = Vec::with_capacity(places.len() * Descriptor::SIZE);
        let mut offset = self.data.end();
        for place in places {
            let descriptor = match *place {
                Place::Zero => {
                    self.zero_pages += 1;
                    self.zero_page
                }
                Place::Same => self.last,
                Place::Data { size, flags } => {
                    self.last = Descriptor { offset, size, flags };
                    offset += u64::from(size);
                    self.last
                }
            };
            descriptor.encode(self.endianness, &mut descriptors);
        }
        let descriptors_full = self.descriptors.append(&descriptors);
        if self.data.append(data) || descriptors_full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.data.flush(self.sink)?;
        self.descriptors.flush(self.sink)
    }

    fn end_window(&mut self, window: &Window) -> Result<(), Error> {
        self.flush()?;
        let is_full = self.bitmap.add(window.first, &window.wanted);
        let is_time = self.committed.is_none_or(|at| at.elapsed() >= COMMIT_EVERY);
        if is_full || is_time || !self.sink.waits() { self.commit() } else { Ok(()) }
    }

    /// Puts the pages of all windows that came to their end into the bitmap, after what it promises.
    fn commit(&mut self) -> Result<(), Error> {
        self.sink.sync()?;
        // With a later block but without this one, its pages would have the content of others.
        while self.bitmap.write_block(self.sink)? {
            self.sink.sync()?;
        }
        self.committed = Some(Instant::now());
        Ok(())
    }

    fn finish(self) -> Result<([Region; 3], Vec<Sample>), Error> {
        let bitmap = self.bitmap.finish(self.sink)?;
        Ok(([bitmap, self.descriptors.region(), self.data.region()], self.samples))
    }
}

#[cfg(test)]
mod tests;
