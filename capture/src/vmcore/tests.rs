use super::*;
use crate::test_core::{TestCore, file, nowhere};

fn example() -> TestCore {
    TestCore::new("OSRELEASE=6.1\nCRASHTIME=7\n")
        .load(0x1000, 0xffff_0000_0000_1000, vec![1; 0x1000])
        .load(0x2000, 0, vec![2; 0x1000])
        .load(0x10_0000, 0, vec![3; 16])
}

#[test]
fn headers_give_memory_and_information() {
    let (_file, core) = example().open();
    let headers = core.headers();
    assert_eq!(headers.size, example().bytes().len() as u64);
    assert_eq!(headers.info.text("OSRELEASE"), Some("6.1"));
    let ranges: Vec<_> = headers.loads.iter().map(|load| (load.p_paddr, load.p_filesz)).collect();
    assert_eq!(ranges, [(0x1000, 0x1000), (0x2000, 0x1000), (0x10_0000, 16)]);
}

#[test]
fn words_are_those_of_the_machine_whatever_the_headers_are() {
    let words = |core: TestCore| core.open().1.headers().is_64;
    assert!(!words(TestCore::i386("")));
    assert!(!words(TestCore { has_64_bit_headers: true, ..TestCore::i386("") }));
    assert!(words(TestCore::new("")));
    assert!(words(TestCore { has_64_bit_headers: false, ..TestCore::new("") }));
}

#[test]
fn headers_of_either_class_and_byte_order_are_read() {
    for (endianness, has_64_bit_headers) in
        [(Endianness::Big, true), (Endianness::Big, false), (Endianness::Little, false)]
    {
        let mut core = TestCore { endianness, has_64_bit_headers, ..example() };
        core.loads[0].1 = 0x8000_1000;
        let (_file, core) = core.open();
        let headers = core.headers();
        assert_eq!(headers.endianness, endianness);
        assert_eq!(headers.info.text("CRASHTIME"), Some("7"));
        let first = Load {
            offset: headers.loads[0].offset,
            p_paddr: 0x1000,
            p_vaddr: 0x8000_1000,
            p_filesz: 0x1000,
            p_memsz: 0x1000,
        };
        assert_eq!(headers.loads[0], first);
        let mut buffer = [0; 2];
        core.read_physical(Physical(0x1fff), &mut buffer).unwrap();
        assert_eq!(buffer, [1, 2]);
    }
}

#[test]
fn physical_memory_is_read_across_segments() {
    let (_file, core) = example().open();
    let mut buffer = [0; 4];
    core.read_physical(Physical(0x1ffe), &mut buffer).unwrap();
    assert_eq!(buffer, [1, 1, 2, 2]);
    for outside in [0, 0xfff, 0x2ffd, 0x3000, 0x10_000d, u64::MAX] {
        let refused = core.read_physical(Physical(outside), &mut buffer);
        assert!(matches!(refused, Err(Error::NotDumped { .. })), "{outside:#x}");
    }
}

#[test]
fn pages_are_whole_with_zeros_around_the_ram_in_them() {
    let core = TestCore::new("PAGESIZE=4096\n")
        .load(0x1800, 0, vec![1; 0x1000])
        .load(0x2800, 0, vec![2; 16])
        .load(0x2000, 0, vec![3; 0x400])
        .load(0x9800, 0, []);
    let (_file, core) = core.open();
    assert_eq!(core.headers().ram(), vec![std::ops::Range { start: 1, end: 3 }]);
    let mut dumped = [false; 4];
    core.dumped(0, &mut dumped).unwrap();
    assert_eq!(dumped, [false, true, true, false]);
    let mut pages = vec![9; 0x3000];
    core.read_pages(1, &mut pages).unwrap();
    let of = |range: std::ops::Range<usize>| pages[range].iter().copied().max();
    assert_eq!((of(0..0x800), of(0x1810..0x3000)), (Some(0), Some(0)));
    // Of what is described twice the lower segment counts.
    assert!(pages[0x800..0x1800].iter().all(|byte| *byte == 1));
    assert!(pages[0x1800..0x1810].iter().all(|byte| *byte == 2));
}

#[test]
fn other_files_are_refused() {
    let open = |bytes: &[u8]| Vmcore::open(file(bytes).path());
    assert!(matches!(Vmcore::open(nowhere()), Err(Error::NoCore { .. })));
    assert!(matches!(open(b""), Err(Error::Elf { .. })));
    assert!(matches!(open(&[0; 4096]), Err(Error::Elf { .. })));
    let mut program = example().bytes();
    program[16] = 2; // ET_EXEC
    assert!(matches!(open(&program), Err(Error::NotACore { .. })));
}

#[test]
fn a_truncated_core_is_refused_wherever_it_ends() {
    let bytes = example().bytes();
    for length in (0..bytes.len()).step_by(7) {
        assert!(Vmcore::open(file(&bytes[..length]).path()).is_err(), "{length} bytes");
    }
}

#[test]
fn notes_that_are_the_same_bytes_again_do_not_fill_the_memory() {
    let mut bytes = TestCore::new("").load(0, 0, [1]).bytes();
    // Two PT_NOTEs with the same 40 MiB, of which the most is a hole of the file.
    for header in [64, 64 + 56] {
        bytes[header] = 4;
        bytes[header + 8..header + 16].fill(0);
        bytes[header + 32..header + 40].copy_from_slice(&(40_u64 << 20).to_le_bytes());
    }
    let file = file(&bytes);
    file.as_file().set_len(40 << 20).unwrap();
    assert!(matches!(Vmcore::open(file.path()), Err(Error::Notes { .. })));
}

#[test]
fn damaged_headers_never_reach_outside_the_file() {
    let good = example().bytes();
    for at in 0..64 + 4 * 56 {
        for value in [0, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let file = file(&bytes);
            let Ok(core) = Vmcore::open(file.path()) else { continue };
            for load in &core.headers().loads {
                assert!(load.offset + load.p_filesz <= core.headers().size, "byte {at} = {value}");
            }
            let mut buffer = [0; 8];
            for address in [0, 0x1000, 0x1ffc, u64::MAX - 3] {
                // Found or not: it must return.
                let _ = core.read_physical(Physical(address), &mut buffer);
            }
        }
    }
}
