//! The fixtures are `seq 1 3000` packed by the reference tools (Debian 12):
//!
//! ```text
//! gzip -9n, xz --check=crc32 --x86 --lzma2=dict=64KiB, zstd -19, lz4 -9, lz4 -l -9,
//! xz --format=lzma, bzip2 -9, lzop -9
//! ```

use std::error::Error;
use std::fmt::Write;

use super::*;

const FIXTURES: [(&str, Format, &[u8]); 8] = [
    ("gzip", Format::Gzip, include_bytes!("fixtures/seq.gz")),
    ("xz", Format::Xz, include_bytes!("fixtures/seq.xz")),
    ("zstd", Format::Zstd, include_bytes!("fixtures/seq.zst")),
    ("lz4", Format::Lz4, include_bytes!("fixtures/seq.lz4")),
    ("legacy lz4", Format::Lz4, include_bytes!("fixtures/seq.legacy.lz4")),
    ("lzma", Format::Lzma, include_bytes!("fixtures/seq.lzma")),
    ("bzip2", Format::Bzip2, include_bytes!("fixtures/seq.bz2")),
    ("lzop", Format::Lzo, include_bytes!("fixtures/seq.lzo")),
];

/// These have no checksum: damage may go unnoticed.
const UNCHECKED: [&str; 2] = ["legacy lz4", "lzma"];

const ENOUGH: usize = 1 << 16;

fn numbers() -> Vec<u8> {
    let mut text = String::new();
    for number in 1..=3000 {
        writeln!(text, "{number}").unwrap();
    }
    text.into_bytes()
}

/// All offsets of the headers and trailers, and some between.
fn sampled(packed: &[u8]) -> impl Iterator<Item = usize> {
    let last = packed.len() - 64;
    (0..packed.len()).filter(move |offset| *offset < 128 || *offset > last || offset % 61 == 0)
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, UnpackError> {
    unpack(bytes, ENOUGH, &mut |_| {})
}

#[test]
fn every_format_is_unpacked() {
    for (name, format, packed) in FIXTURES {
        assert_eq!(Format::detect(packed), Some(format), "{name}");
        assert!(unpacked(packed).unwrap() == numbers(), "{name} gives something else");
    }
}

#[test]
fn the_appended_size_and_other_trailing_bytes_are_ignored() {
    let size = u32::try_from(numbers().len()).unwrap().to_le_bytes();
    for trailing in [&size[..], &[0; 64], &[0xff; 33], b"x"] {
        for (name, _, packed) in FIXTURES {
            let with_more = [packed, trailing].concat();
            assert!(unpacked(&with_more).unwrap() == numbers(), "{name} + {trailing:x?}");
        }
    }
}

#[test]
fn what_follows_a_stream_is_not_taken() {
    for trailing in [&b""[..], &[0; 64], b"070701000002D1"] {
        for (name, _, packed) in FIXTURES {
            let with_more = [packed, trailing].concat();
            let (_, taken) = unpack_stream(&with_more, ENOUGH, &mut |_| {}).unwrap();
            assert_eq!(taken, packed.len(), "{name} + {trailing:x?}");
        }
    }
}

#[test]
fn nothing_comes_out_beyond_the_limit() {
    let length = numbers().len();
    for (name, format, packed) in FIXTURES {
        assert!(unpack(packed, length, &mut |_| {}).is_ok(), "{name}");
        for limit in [0, 1, length - 1] {
            match unpack(packed, limit, &mut |_| {}) {
                Err(UnpackError::Limit { format: named, limit: stated }) => {
                    assert_eq!((named, stated), (format, limit), "{name}");
                }
                other => panic!("{name} at {limit}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_truncated_file_is_refused() {
    for (name, _, packed) in FIXTURES {
        let whole = packed.len();
        for length in sampled(packed) {
            match unpacked(&packed[..length]) {
                Err(_) => {}
                Ok(bytes) => assert!(bytes == numbers(), "{name} cut at {length} of {whole}"),
            }
        }
    }
}

#[test]
fn damage_is_noticed_and_never_panics() {
    for (name, _, packed) in FIXTURES {
        let mut damaged = packed.to_vec();
        for offset in sampled(packed) {
            for flipped in [0x01, 0x80] {
                damaged[offset] = packed[offset] ^ flipped;
                if let Ok(bytes) = unpacked(&damaged)
                    && !UNCHECKED.contains(&name)
                {
                    assert!(bytes == numbers(), "{name} damaged at {offset} unpacks to other data");
                }
            }
            damaged[offset] = packed[offset];
        }
    }
}

#[test]
fn messages_name_the_format_the_offset_and_what_came_out() {
    let (_, _, packed) = FIXTURES[1];
    let error = unpacked(&packed[..packed.len() / 2]).unwrap_err();
    assert!(error.source().is_some());
    let message = error.to_string();
    assert!(message.starts_with("the xz data are damaged or truncated"), "{message}");
    assert!(matches!(error, UnpackError::Damaged { offset: 1.., .. }), "{message}");
    assert!(matches!(unpacked(b"plain text"), Err(UnpackError::UnknownFormat)));
}

#[test]
fn progress_is_reported_every_few_mebibytes() {
    let large = vec![7; 19 << 20];
    let mut packed = Vec::from(*b"\x02\x21\x4c\x18");
    for block in large.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
    }
    let mut calls = Vec::new();
    let unpacked = unpack(&packed, large.len(), &mut |bytes| calls.push(bytes)).unwrap();
    assert!(unpacked == large);
    assert_eq!(calls, [8 << 20, 16 << 20, 19 << 20]);
}

/// A legacy frame whose last block is full ends only where the data end.
#[test]
fn full_legacy_blocks_may_be_followed_by_the_appended_size() {
    let block = lz4_flex::block::compress(&vec![7; 8 << 20]);
    let mut packed = Vec::from(*b"\x02\x21\x4c\x18");
    packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
    packed.extend(block);
    packed.extend((8_u32 << 20).to_le_bytes());
    assert_eq!(unpack(&packed, 8 << 20, &mut |_| {}).unwrap().len(), 8 << 20);
}
