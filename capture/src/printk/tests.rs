use super::*;
use crate::test_core::{TestCore, poke};

const BASE: u64 = 0xffff_8000_0000_0000;

/// The log of a core whose memory is mapped at `BASE`.
fn log_of(info: &str, memory: Vec<u8>) -> Result<(u64, String), Error> {
    let (_file, core) = TestCore::new(info).load(0x10_0000, BASE, memory).open();
    let mut out = Vec::new();
    let records = write_log(&mut KernelMemory::new(&core).unwrap(), &mut out)?;
    Ok((records, String::from_utf8(out).unwrap()))
}

/// A lockless ring buffer with 4 descriptors and 64 bytes of text, laid out unlike any kernel's.
struct Ring {
    memory: Vec<u8>,
}

impl Ring {
    const INFO: &str = "SYMBOL(prb)=ffff800000000010\n\
        OFFSET(printk_ringbuffer.desc_ring)=8\nOFFSET(printk_ringbuffer.text_data_ring)=64\n\
        OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\n\
        OFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\n\
        OFFSET(prb_desc_ring.tail_id)=32\nOFFSET(atomic_long_t.counter)=0\n\
        SIZE(prb_desc)=32\nOFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\n\
        OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\n\
        OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n\
        SIZE(printk_info)=24\nOFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\n";
    const COUNT_BITS: u64 = 0x108;

    fn new(tail: u64, head: u64) -> Self {
        let mut ring = Self { memory: vec![0; 0x4000] };
        for (at, value) in [
            (0x10, BASE + 0x100),
            (0x110, BASE + 0x1000),
            (0x118, BASE + 0x2000),
            (0x120, head),
            (0x128, tail),
            (0x148, BASE + 0x3000),
        ] {
            ring.long(at, value);
        }
        poke(&mut ring.memory, Self::COUNT_BITS, &2u32.to_le_bytes());
        poke(&mut ring.memory, 0x140, &6u32.to_le_bytes());
        ring
    }

    fn long(&mut self, at: u64, value: u64) {
        poke(&mut self.memory, at, &value.to_le_bytes());
    }

    /// Record `id` in `state` with `text` at logical positions `begin..next`.
    fn record(&mut self, id: u64, state: u64, (begin, next): (u64, u64), text: &str) -> &mut Self {
        let index = id % 4;
        self.long(0x1000 + index * 32, state << 62 | (id & ((1 << 62) - 1)));
        self.long(0x1000 + index * 32 + 8, begin);
        self.long(0x1000 + index * 32 + 16, next);
        self.long(0x2000 + index * 24 + 8, 1_234_567_891);
        let length = u16::try_from(text.len()).unwrap();
        poke(&mut self.memory, 0x2000 + index * 24 + 16, &length.to_le_bytes());
        let start = if begin % 64 < next % 64 || next.is_multiple_of(64) { begin % 64 } else { 0 };
        poke(&mut self.memory, 0x3000 + start + 8, text.as_bytes());
        self
    }

    fn log(&self) -> Result<(u64, String), Error> {
        log_of(Self::INFO, self.memory.clone())
    }
}

#[test]
fn records_come_from_tail_to_head() {
    let mut ring = Ring::new(5, 7);
    ring.record(5, 2, (64, 80), "five").record(6, 2, (80, 96), "six").record(7, 1, (96, 112), "se");
    let expected = "[    1.234567] five\n[    1.234567] six\n[    1.234567] se\n";
    assert_eq!(ring.log().unwrap(), (3, expected.to_owned()));
}

#[test]
fn a_block_that_wraps_stands_at_the_beginning() {
    let mut ring = Ring::new(1, 2);
    ring.record(1, 2, (56, 64 + 16), "wrapped").record(2, 2, (64 + 48, 128), "at end");
    let expected = "[    1.234567] wrapped\n[    1.234567] at end\n";
    assert_eq!(ring.log().unwrap(), (2, expected.to_owned()));
}

#[test]
fn records_without_text_or_out_of_use_are_left_out() {
    let mut ring = Ring::new(0, 3);
    ring.record(0, 0, (0, 16), "reserved")
        .record(1, 3, (16, 32), "reusable")
        .record(2, 2, (1, 1), "")
        .record(7, 2, (32, 48), "another");
    assert_eq!(ring.log().unwrap(), (0, String::new()));
}

#[test]
fn ids_go_on_at_zero_after_the_last() {
    let last = (1 << 62) - 1;
    let mut ring = Ring::new(last, 0);
    ring.record(last, 2, (0, 16), "last").record(0, 2, (16, 32), "first");
    let expected = "[    1.234567] last\n[    1.234567] first\n";
    assert_eq!(ring.log().unwrap(), (2, expected.to_owned()));
}

#[test]
fn lines_and_control_characters_are_told_apart() {
    let mut ring = Ring::new(0, 0);
    ring.record(0, 2, (0, 32), "a\nb\t\u{1b}[1m\u{e9}");
    let expected = "[    1.234567] a\n[    1.234567] b\t\\x1b[1m\u{e9}\n";
    assert_eq!(ring.log().unwrap(), (1, expected.to_owned()));
}

#[test]
fn a_damaged_ring_ends_in_an_error_or_in_less() {
    let mut endless = Ring::new(0, 1 << 40);
    endless.record(0, 2, (0, 16), "zero");
    assert_eq!(endless.log().unwrap().0, 1);

    let mut long_text = Ring::new(0, 0);
    long_text.record(0, 2, (0, 16), "longer than its block");
    assert_eq!(long_text.log().unwrap().1, "[    1.234567] longer t\n");

    let mut bits = Ring::new(0, 0);
    poke(&mut bits.memory, Ring::COUNT_BITS, &63u32.to_le_bytes());
    assert!(matches!(bits.log(), Err(Error::Damaged { value: 63, .. })));

    let mut pointer = Ring::new(0, 0);
    pointer.long(0x110, u64::MAX - 3);
    assert!(matches!(pointer.log(), Err(Error::Memory(_))));
}

#[test]
fn missing_information_is_named() {
    let info = Ring::INFO.replace("SIZE(printk_info)", "SIZE(other)");
    let error = log_of(&info, Ring::new(0, 0).memory).unwrap_err();
    assert!(matches!(error, Error::Info(InfoError::Missing { key }) if key == "SIZE(printk_info)"));
    let error = log_of("", vec![0; 0x1000]).unwrap_err();
    assert!(matches!(error, Error::Info(InfoError::Missing { .. })));
}

const RECORDS_INFO: &str = "SYMBOL(log_buf)=ffff800000000000\nSYMBOL(log_buf_len)=ffff800000000008\n\
    SYMBOL(log_first_idx)=ffff80000000000c\nSYMBOL(log_next_idx)=ffff800000000010\n\
    SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\n\
    OFFSET(printk_log.text_len)=10\n";

/// A buffer of 128 bytes of records before the lockless one.
fn record_buffer(first: u32, next: u32, records: &[(u64, u16, &str)]) -> Vec<u8> {
    let mut memory = vec![0; 0x1000];
    poke(&mut memory, 0, &(BASE + 0x100).to_le_bytes());
    poke(&mut memory, 8, &[128, first, next].map(u32::to_le_bytes).concat());
    for (at, length, text) in records {
        poke(&mut memory, 0x100 + at, &2_000_000_u64.to_le_bytes());
        let text_length = u16::try_from(text.len()).unwrap();
        poke(&mut memory, 0x108 + at, &[*length, text_length].map(u16::to_le_bytes).concat());
        poke(&mut memory, 0x110 + at, text.as_bytes());
    }
    memory
}

#[test]
fn the_older_buffer_is_read_around_its_end() {
    let memory = record_buffer(64, 32, &[(64, 32, "one"), (96, 0, ""), (0, 32, "two")]);
    let expected = "[    0.002000] one\n[    0.002000] two\n";
    assert_eq!(log_of(RECORDS_INFO, memory).unwrap(), (2, expected.to_owned()));
}

#[test]
fn a_damaged_older_buffer_is_told() {
    let short = record_buffer(0, 32, &[(0, 8, "")]);
    assert!(matches!(log_of(RECORDS_INFO, short), Err(Error::Damaged { value: 8, .. })));
    let outside = record_buffer(128, 32, &[]);
    assert!(matches!(log_of(RECORDS_INFO, outside), Err(Error::Damaged { value: 128, .. })));
    let empty = record_buffer(0, 32, &[]);
    assert_eq!(log_of(RECORDS_INFO, empty).unwrap().0, 0);
}
