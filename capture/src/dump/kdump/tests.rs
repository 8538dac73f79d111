use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;

use super::*;
use crate::dump::{Output, save};
use crate::filter::Level;
use crate::format::flattened::{HEADER_SIZE, Record};
use crate::test_core::{self, TestCore};
use crate::vmcore;

const PAGE: usize = 4096;
const OPTIONS: Options = Options {
    format: Format::Kdump,
    compression: Compression::None,
    level: Level::NONE,
    threads: NonZeroUsize::MIN,
};

/// A flattened file, with the places where it was waited for.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    waits: Vec<usize>,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.waits.push(self.bytes.len());
        Ok(())
    }
}

impl Stream {
    /// Puts what is in a part of the stream into the file.
    fn replay(&self, mut part: Range<usize>, file: &mut [u8]) {
        while !part.is_empty() {
            let (record, rest) = self.bytes[part.clone()].split_first_chunk().unwrap();
            let record = Record::decode(*record);
            let offset = usize::try_from(record.offset).unwrap();
            let size = usize::try_from(record.size).unwrap();
            file[offset..offset + size].copy_from_slice(&rest[..size]);
            part.start += Record::SIZE + size;
        }
    }
}

/// Every page is as in `core` or is not there.
fn assert_no_page_is_wrong(core: &Vmcore, dump: &[u8]) {
    let file = test_core::file(dump);
    let dump = Vmcore::open(file.path()).unwrap();
    let (mut page, mut expected) = ([0; PAGE], [0; PAGE]);
    for pfn in core.headers().ram().into_iter().flatten() {
        match dump.read_pages(pfn, &mut page) {
            Ok(()) => {
                core.read_pages(pfn, &mut expected).unwrap();
                assert!(page == expected, "page {pfn:#x} has other content");
            }
            Err(vmcore::Error::NotDumped { .. }) => {}
            Err(other) => panic!("page {pfn:#x}: {other}"),
        }
    }
}

#[test]
fn whatever_a_power_cut_loses_no_page_is_wrong() {
    // The bits of each page are in a block of their own.
    const SPAN: u64 = 128 << 20;
    let core = (0..4u8).fold(TestCore::new("PAGESIZE=4096\n"), |core, number| {
        core.load(u64::from(number) * SPAN, 0, [number + 1; PAGE])
    });
    let (_file, core) = core.open();
    let selection = Selection::new(&core, Level::NONE);
    let header = header(&selection, &OPTIONS).unwrap();
    let (planned, counts) = selection.count(OPTIONS.threads, &mut |_| ()).unwrap();
    let data_offset = header.descriptors_offset() + counts.kept * Descriptor::SIZE as u64;

    // All windows are committed at once.
    let mut stream = Stream::default();
    let mut sink = Sink::new(Output::Stream(&mut stream)).unwrap();
    let mut file = File::new(&header, data_offset, &mut sink);
    file.write_zero_page(OPTIONS.compression, PAGE);
    let buffers = Spare::default();
    let mut worker = Worker::new(&selection, &OPTIONS, &planned, &buffers);
    for (number, first) in selection.windows().enumerate() {
        let mut take = |piece, _| match piece {
            Piece::Pages { places, data, .. } => file.add_pages(&places, &data),
            Piece::End(window) => {
                file.bitmap.add(window.first, &window.wanted);
                file.flush()
            }
        };
        worker.window(number, first, &mut take).unwrap();
    }
    file.commit().unwrap();

    // What is on the disk before: headers, the bitmap of RAM, and nothing else.
    let whole = tempfile::NamedTempFile::new().unwrap();
    save(&core, &OPTIONS, Output::File(whole.as_file()), &mut |_| ()).unwrap();
    let whole = std::fs::read(whole.path()).unwrap();
    let mut disk = whole.clone();
    disk[usize::try_from(header.bitmap_offset() + header.bitmap_size()).unwrap()..].fill(0);

    let mut from = HEADER_SIZE;
    for wait in &stream.waits {
        let mut after = disk.clone();
        stream.replay(from..*wait, &mut after);
        let end = after.len();
        let blocks = (0..end).step_by(4096).map(|at| at..end.min(at + 4096));
        let changed: Vec<Range<usize>> =
            blocks.filter(|block| after[block.clone()] != disk[block.clone()]).collect();
        // Each of them got to the disk or not.
        for there in 0..1u32 << changed.len() {
            let mut cut = disk.clone();
            for (number, block) in changed.iter().cloned().enumerate() {
                if there >> number & 1 == 1 {
                    cut[block.clone()].copy_from_slice(&after[block]);
                }
            }
            assert_no_page_is_wrong(&core, &cut);
        }
        disk = after;
        from = *wait;
    }
    assert_eq!(from, stream.bytes.len(), "all was waited for");
    assert!(disk == whole, "all is there in the end");
}

#[test]
fn a_buffer_that_is_used_again_counts_as_what_it_takes() {
    // Much in the first window, little in the second.
    let memory: Vec<u8> = (0..=255).flat_map(|byte| [byte; PAGE]).collect();
    let core = TestCore::new("PAGESIZE=4096\n").load(0, 0, memory).load(16 << 20, 0, [1; PAGE]);
    let (_file, core) = core.open();
    let selection = Selection::new(&core, Level::NONE);
    let (planned, _) = selection.count(OPTIONS.threads, &mut |_| ()).unwrap();
    let buffers = Spare::default();
    let mut worker = Worker::new(&selection, &OPTIONS, &planned, &buffers);
    let mut last = 0;
    for (number, first) in selection.windows().enumerate() {
        let mut take = |piece, bytes| {
            if let Piece::Pages { data, .. } = piece {
                assert!(bytes >= data.capacity(), "{bytes} bytes");
                last = data.capacity();
                buffers.give(data);
            }
            Ok(())
        };
        worker.window(number, first, &mut take).unwrap();
    }
    assert!(last >= PIECE, "it was used again");
}
