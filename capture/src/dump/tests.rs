use super::*;
use crate::address::Physical;
use crate::format::kdump::{Descriptor, STATUS_INCOMPLETE};
use crate::test_core::TestCore;

const PAGE: usize = 4096;

/// A core with ranges of RAM in several windows: pages of text, of noise and of zeros, and one that
/// is RAM only in part.
fn core() -> TestCore {
    let mut memory = vec![0; 40 * PAGE];
    for (number, page) in (1u32..).zip(memory.chunks_mut(PAGE)) {
        match number % 3 {
            0 => page.fill(0),
            1 => {
                page.iter_mut().zip(b"page of text ".iter().cycle()).for_each(|(to, by)| *to = *by)
            }
            _ => noise(number, page),
        }
    }
    memory.extend([7; 100]);
    TestCore::new("OSRELEASE=6.1-test\nPAGESIZE=4096\nCRASHTIME=1700000000\n")
        .load(0x10_0000, 0xffff_8000_0010_0000, memory.clone())
        .load(0x10_1000, 0xffff_ffff_8000_0000, memory[PAGE..2 * PAGE].to_vec())
        .load(0x700_0000, 0xffff_8000_0700_0000, vec![5; 2 * PAGE])
}

fn noise(seed: u32, to: &mut [u8]) {
    let mut state = seed;
    for byte in to {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = state.to_le_bytes()[0];
    }
}

fn options(format: Format, compression: Compression, threads: usize) -> Options {
    let threads = NonZeroUsize::new(threads).unwrap();
    Options { format, compression, level: Level::NONE, threads }
}

fn every_kind() -> Vec<Options> {
    let methods = [Compression::Zlib, Compression::Zstd, Compression::Snappy, Compression::None];
    let kdump = methods.map(|method| options(Format::Kdump, method, 1));
    let elf = options(Format::Elf, Compression::None, 1);
    kdump
        .into_iter()
        .chain([elf])
        .flat_map(|one| {
            let threads = NonZeroUsize::new(3).unwrap();
            [one, Options { threads, ..one }]
        })
        .collect()
}

/// The dump in a file, and what was said of it.
fn saved(core: &Vmcore, options: &Options) -> (tempfile::NamedTempFile, Saved) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let saved = save(core, options, Output::File(file.as_file()), &mut |_| ()).unwrap();
    (file, saved)
}

fn flattened(core: &Vmcore, options: &Options) -> (Vec<u8>, Saved) {
    let mut stream = Vec::new();
    let saved = save(core, options, Output::Stream(&mut stream), &mut |_| ()).unwrap();
    (stream, saved)
}

/// What a core has of physical memory and notes.
fn content(core: &Vmcore) -> (Vec<std::ops::Range<u64>>, Vec<u8>, Vec<u8>) {
    let mut memory = Vec::new();
    for range in core.headers().ram() {
        let mut pages = vec![0; usize::try_from(range.end - range.start).unwrap() * PAGE];
        core.read_pages(range.start, &mut pages).unwrap();
        memory.extend(pages);
    }
    (core.headers().ram(), core.headers().notes.clone(), memory)
}

#[test]
fn every_format_has_the_memory_and_the_notes() {
    let (_file, core) = core().open();
    for options in every_kind() {
        let (file, saved) = saved(&core, &options);
        let copy = Vmcore::open(file.path()).unwrap();
        assert!(content(&copy) == content(&core), "{options:?}");
        assert_eq!(copy.headers().info.text("OSRELEASE"), Some("6.1-test"));
        assert_eq!((saved.pages.total, saved.pages.kept, saved.pages.zero), (43, 43, 13));
        assert_eq!(saved.bytes, file.as_file().metadata().unwrap().len());
        let sha256 = verify(&core, file.path(), &saved, &mut |_| ()).unwrap();
        assert_eq!(
            sha256,
            <[u8; 32]>::from(sha2::Digest::finalize(sha2::Digest::chain_update(
                <sha2::Sha256 as sha2::Digest>::new(),
                std::fs::read(file.path()).unwrap()
            )))
        );
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_file() {
    let (_file, core) = core().open();
    for format in [Format::Kdump, Format::Elf] {
        let with = |threads| {
            let (file, _) = saved(&core, &options(format, Compression::Zlib, threads));
            std::fs::read(file.path()).unwrap()
        };
        assert!(with(1) == with(4), "{format}");
    }
}

#[test]
fn equal_neighbours_share_a_copy() {
    let mut page = [0; PAGE];
    noise(1, &mut page);
    let size = |pages| {
        let core = TestCore::new("PAGESIZE=4096\n").load(0x10_0000, 0, page.repeat(pages));
        let (_file, core) = core.open();
        let (file, saved) = saved(&core, &options(Format::Kdump, Compression::None, 1));
        assert!(content(&Vmcore::open(file.path()).unwrap()) == content(&core));
        saved.bytes
    };
    assert_eq!(size(9) - size(2), 7 * Descriptor::SIZE as u64);
}

#[test]
fn a_flattened_dump_is_the_dump_in_pieces() {
    let (_file, core) = core().open();
    for options in every_kind() {
        let (stream, saved) = flattened(&core, &options);
        assert_eq!(saved.bytes, stream.len() as u64);
        assert!(saved.sha256.is_some());
        let file = crate::test_core::file(&stream);
        let copy = Vmcore::open(file.path()).unwrap();
        assert!(content(&copy) == content(&core), "{options:?}");
    }
}

#[test]
fn dumps_can_be_saved_again() {
    let (_file, core) = core().open();
    let (kdump, _) = saved(&core, &options(Format::Kdump, Compression::Zstd, 1));
    let (stream, _) = flattened(&core, &options(Format::Elf, Compression::None, 1));
    let stream = crate::test_core::file(&stream);
    for from in [kdump.path(), stream.path()] {
        let from = Vmcore::open(from).unwrap();
        let (again, _) = saved(&from, &options(Format::Kdump, Compression::Zlib, 2));
        assert!(content(&Vmcore::open(again.path()).unwrap()) == content(&core));
    }
}

#[test]
fn numbers_are_those_of_the_machine() {
    let memory = vec![3; 65536];
    let info = "PAGESIZE=65536\nNUMBER(phys_base)=-4096\n";
    let power = TestCore::power(info).load(0, 0xc000_0000_0000_0000, memory.clone());
    let i386 = TestCore::i386("PAGESIZE=4096\n").load(0, 0xc000_0000, memory);
    for (core, size, block_size) in [(power, 104, 65536), (i386, 80, 4096)] {
        let endianness = core.endianness;
        let (_file, core) = core.open();
        for options in every_kind() {
            let (file, _) = saved(&core, &options);
            let copy = Vmcore::open(file.path()).unwrap();
            assert_eq!(copy.headers().endianness, endianness);
            assert_eq!(copy.headers().machine, core.headers().machine);
            let mut byte = [0];
            copy.read_physical(Physical(0xffff), &mut byte).unwrap();
            assert_eq!(byte, [3]);
            let Some(kdump) = copy.kdump() else { continue };
            assert_eq!(kdump.header().block_size, block_size);
            assert_eq!(kdump.header().encode_sub_header().len(), size);
            assert_eq!(kdump.header().phys_base.cast_signed(), if size == 104 { -4096 } else { 0 });
            assert_eq!(kdump.header().max_mapnr, 65536 / u64::from(block_size));
        }
    }
}

#[test]
fn a_dump_that_was_cut_off_says_so_and_has_what_was_written() {
    /// Takes so many bytes and no more.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1 - self.0.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(&bytes[..bytes.len().min(room)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // In two windows.
    const SECOND: u64 = 16 << 20;
    let mut memory = vec![0; 256 * PAGE];
    noise(1, &mut memory);
    let core = TestCore::new("PAGESIZE=4096\n").load(0, 0, memory.clone());
    let (_file, core) = core.load(SECOND, 0, memory).open();
    for threads in [1, 2] {
        let options = options(Format::Kdump, Compression::None, threads);
        let whole = flattened(&core, &options).0.len();
        // The last is before the header that says complete.
        for (length, there) in [(whole / 4, 0), (whole * 3 / 4, 256), (whole - 4200, 512)] {
            let mut stream = Full(Vec::new(), length);
            let failed = save(&core, &options, Output::Stream(&mut stream), &mut |_| ());
            assert!(matches!(failed, Err(Error::Write { .. })), "{failed:?}");
            let file = crate::test_core::file(&stream.0);
            let copy = Vmcore::open(file.path()).unwrap();
            let kdump = copy.kdump().unwrap();
            assert!(kdump.header().status & STATUS_INCOMPLETE != 0);
            assert_eq!(copy.headers().ram(), core.headers().ram());
            let mut page = vec![0; PAGE];
            let mut expected = vec![0; PAGE];
            for (number, pfn) in (0..).zip(core.headers().ram().into_iter().flatten()) {
                let read = copy.read_pages(pfn, &mut page);
                if number < there {
                    read.unwrap();
                    core.read_pages(pfn, &mut expected).unwrap();
                    assert!(page == expected, "page {pfn:#x} of a dump of {length} bytes");
                } else {
                    let is_told = matches!(read, Err(vmcore::Error::NotDumped { .. }));
                    assert!(is_told, "page {pfn:#x} of a dump of {length} bytes: {read:?}");
                }
            }
        }
    }
}

#[test]
fn a_device_without_room_has_the_windows_before() {
    // In three windows; the first is in the bitmap at once.
    let mut memory = vec![0; 64 * PAGE];
    noise(1, &mut memory);
    let core = TestCore::new("PAGESIZE=4096\n");
    let core = (0..3).fold(core, |core, window| core.load(window << 24, 0, memory.clone()));
    let (_file, core) = core.open();
    let options = options(Format::Kdump, Compression::None, 1);
    let (device, whole) = saved(&core, &options);
    let room = whole.bytes - PAGE as u64;
    let output = Output::Device { device: device.as_file(), room };
    let failed = save(&core, &options, output, &mut |_| ());
    assert!(matches!(failed, Err(Error::Write { .. })), "{failed:?}");
    let copy = Vmcore::open(device.path()).unwrap();
    for (window, is_there) in [(0, true), (1, true), (2, false)] {
        let mut dumped = [!is_there; 64];
        copy.dumped(window << 12, &mut dumped).unwrap();
        assert_eq!(dumped, [is_there; 64], "window {window}");
    }
}

#[test]
fn a_machine_without_a_name_is_saved_as_elf_only() {
    let core = TestCore { machine: object::elf::Machine(0xf00d), ..core() };
    let (_file, core) = core.open();
    let kdump = options(Format::Kdump, Compression::Zlib, 1);
    let refused = save(&core, &kdump, Output::Stream(&mut Vec::new()), &mut |progress| {
        panic!("before anything else: {progress:?}")
    });
    assert!(matches!(refused, Err(Error::Machine { e_machine: 0xf00d })));
    let (file, elf) = saved(&core, &options(Format::Elf, Compression::None, 1));
    verify(&core, file.path(), &elf, &mut |_| ()).unwrap();
}

#[test]
fn damage_is_found_wherever_it_is() {
    let (_file, core) = core().open();
    for format in [Format::Kdump, Format::Elf] {
        let (file, saved) = saved(&core, &options(format, Compression::Zlib, 1));
        let good = std::fs::read(file.path()).unwrap();
        let check =
            |bytes: &[u8]| verify(&core, crate::test_core::file(bytes).path(), &saved, &mut |_| ());
        check(&good).unwrap();
        let mut end = 0;
        for region in &saved.written.regions {
            let range = region.range.clone();
            // Nothing between the regions either.
            assert_eq!(range.start, end, "{format}");
            end = range.end;
            for at in [range.start, range.start.midpoint(range.end), range.end - 1] {
                let mut bytes = good.clone();
                bytes[usize::try_from(at).unwrap()] ^= 1;
                let found = check(&bytes);
                assert!(matches!(found, Err(Error::Differs { .. })), "{format}: byte {at}");
            }
        }
        assert_eq!(end, good.len() as u64, "{format}");
        assert!(matches!(check(&good[..good.len() - 1]), Err(Error::ReadBack { .. })));
    }
}

#[test]
fn the_estimate_is_near() {
    let (_file, core) = core().open();
    for options in every_kind() {
        let estimate = estimate_size(&core, &options, &mut |_| ()).unwrap();
        let (file, _) = saved(&core, &options);
        let size = file.as_file().metadata().unwrap().len();
        assert!(estimate.at_most >= size, "{estimate:?}, {size}");
        // Holes are no bytes.
        let holes = if options.format == Format::Elf { 13 * PAGE as u64 } else { 0 };
        let low = (size - holes) * 9 / 10;
        let high = size * 11 / 10 + 4 * PAGE as u64;
        assert!((low..high).contains(&estimate.expected), "{estimate:?}, {size}");
    }
}

/// Whatever a file says, reading it ends, with an error or not, and takes no more memory than the
/// file is worth.
#[test]
fn damaged_dumps_never_do_harm() {
    let (_file, core) = core().open();
    let (kdump, _) = saved(&core, &options(Format::Kdump, Compression::Zlib, 1));
    let kdump = std::fs::read(kdump.path()).unwrap();
    let (stream, _) = flattened(&core, &options(Format::Kdump, Compression::None, 1));
    // Header and sub-header; bitmaps; descriptors; records of the stream.
    let of_kdump = (400..470).chain(PAGE..PAGE + 104).chain([0, 8, 9, 272, 3 * PAGE, 4 * PAGE]);
    let descriptors = 2 * PAGE + 4 * PAGE..2 * PAGE + 4 * PAGE + 200;
    let of_stream = (0..24).chain(PAGE..PAGE + 40).chain(2 * PAGE..2 * PAGE + 60);
    let cases = [(&kdump, of_kdump.chain(descriptors).collect::<Vec<_>>())];
    for (good, places) in cases.into_iter().chain([(&stream, of_stream.collect())]) {
        for at in places {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                read_all_of(&bytes);
            }
        }
        for length in (0..good.len()).step_by(997) {
            read_all_of(&good[..length]);
        }
    }
}

fn read_all_of(bytes: &[u8]) {
    let file = crate::test_core::file(bytes);
    let Ok(copy) = Vmcore::open(file.path()) else { return };
    let page_size = usize::try_from(copy.headers().page_size).unwrap();
    let mut page = vec![0; page_size];
    for range in copy.headers().ram() {
        for pfn in range.take(64) {
            // Found or not: it must return.
            let _ = copy.read_pages(pfn, &mut page);
        }
    }
}
