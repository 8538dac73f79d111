use super::*;
use crate::test_core::{TestCore, poke};
use object::Endian;

/// A kind of dead kernel, and where a test's memory is in it.
#[derive(Clone, Copy)]
struct Machine {
    core: fn(&str) -> TestCore,
    /// Size of a `long` in bytes.
    long: u64,
    physical: u64,
    base: u64,
}

const BASE: u64 = 0xffff_8000_0000_0000;
const LITTLE_64: Machine =
    Machine { core: TestCore::new, long: 8, physical: 0x10_0000, base: BASE };
const BIG_64: Machine =
    Machine { core: TestCore::power, long: 8, physical: 0x10_0000, base: 0xc000_0000_0010_0000 };
/// Its page table stands in the memory as well; see [`Ring::new`].
const LITTLE_32: Machine =
    Machine { core: TestCore::i386, long: 4, physical: 0x40_0000, base: 0xc000_0000 };

/// The log of a core with this memory.
fn log_of(machine: Machine, info: &str, memory: Vec<u8>) -> Result<(u64, String), Error> {
    let (_file, core) = (machine.core)(info).load(machine.physical, machine.base, memory).open();
    let mut out = Vec::new();
    let records = write_log(&mut KernelMemory::new(&core).unwrap(), &mut out)?;
    Ok((records, String::from_utf8(out).unwrap()))
}

/// A lockless ring buffer with 4 descriptors and 64 bytes of text, laid out unlike any kernel's.
struct Ring {
    machine: Machine,
    memory: Vec<u8>,
}

impl Ring {
    const INFO: &str = "\
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
        Self::on(LITTLE_64, tail, head)
    }

    fn on(machine: Machine, tail: u64, head: u64) -> Self {
        let mut ring = Self { machine, memory: vec![0; 0x4000] };
        let base = machine.base;
        for (at, value) in [
            (0x10, base + 0x100),
            (0x110, base + 0x1000),
            (0x118, base + 0x2000),
            (0x120, head),
            (0x128, tail),
            (0x148, base + 0x3000),
            // A page table of i386, of which the descriptors leave most: its entry for `base` is
            // a large page (bits 0 and 7).
            (0x1000 + 0x300 * 4, machine.physical | 0x81),
        ] {
            ring.long(at, value);
        }
        ring.poke_u32(Self::COUNT_BITS, 2);
        ring.poke_u32(0x140, 6);
        ring
    }

    fn endianness(&self) -> object::Endianness {
        (self.machine.core)("").endianness
    }

    fn poke_u32(&mut self, at: u64, value: u32) {
        let bytes = self.endianness().write_u32(value);
        poke(&mut self.memory, at, &bytes);
    }

    fn long(&mut self, at: u64, value: u64) {
        if self.machine.long == 4 {
            return self.poke_u32(at, u32::try_from(value).unwrap());
        }
        let bytes = self.endianness().write_u64(value);
        poke(&mut self.memory, at, &bytes);
    }

    /// Record `id` in `state` with `text` at logical positions `begin..next`.
    fn record(&mut self, id: u64, state: u64, (begin, next): (u64, u64), text: &str) -> &mut Self {
        let index = id % 4;
        let id_bits = self.machine.long * 8 - 2;
        self.long(0x1000 + index * 32, state << id_bits | (id & ((1 << id_bits) - 1)));
        self.long(0x1000 + index * 32 + 8, begin);
        self.long(0x1000 + index * 32 + 16, next);
        let time = self.endianness().write_u64(1_234_567_891);
        poke(&mut self.memory, 0x2000 + index * 24 + 8, &time);
        let length = self.endianness().write_u16(u16::try_from(text.len()).unwrap());
        poke(&mut self.memory, 0x2000 + index * 24 + 16, &length);
        let start = if begin % 64 < next % 64 || next.is_multiple_of(64) { begin % 64 } else { 0 };
        poke(&mut self.memory, 0x3000 + start + self.machine.long, text.as_bytes());
        self
    }

    /// Where the ring and the page table are, and how the ring is laid out.
    fn info(&self) -> String {
        let base = self.machine.base;
        let (ring, table) = (base + 0x10, base + 0x1000);
        format!("SYMBOL(prb)={ring:x}\nSYMBOL(swapper_pg_dir)={table:x}\n{}", Self::INFO)
    }

    fn log(&self) -> Result<(u64, String), Error> {
        log_of(self.machine, &self.info(), self.memory.clone())
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
fn the_dead_kernels_words_may_have_another_size_or_order() {
    for machine in [LITTLE_32, BIG_64] {
        let last = (1 << (machine.long * 8 - 2)) - 1;
        let mut ring = Ring::on(machine, last, 1);
        ring.record(last, 2, (8, 24), "last").record(0, 2, (24, 40), "zero").record(
            1,
            1,
            (40, 56),
            "one",
        );
        let expected = "[    1.234567] last\n[    1.234567] zero\n[    1.234567] one\n";
        assert_eq!(ring.log().unwrap(), (3, expected.to_owned()));
    }
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

    // All of them have the same text, which together would be more than the ring has.
    let mut shared = Ring::new(0, 3);
    for id in 0..4 {
        shared.record(id, 2, (0, 48), "thirty bytes of text of all...");
    }
    assert!(matches!(shared.log(), Err(Error::Damaged { value: 90, .. })));

    let mut bits = Ring::new(0, 0);
    bits.poke_u32(Ring::COUNT_BITS, 63);
    assert!(matches!(bits.log(), Err(Error::Damaged { value: 63, .. })));

    let mut pointer = Ring::new(0, 0);
    pointer.long(0x110, u64::MAX - 3);
    assert!(matches!(pointer.log(), Err(Error::Memory(_))));
}

#[test]
fn missing_information_is_named() {
    let ring = Ring::new(0, 0);
    let info = ring.info().replace("SIZE(printk_info)", "SIZE(other)");
    let error = log_of(LITTLE_64, &info, ring.memory).unwrap_err();
    assert!(matches!(error, Error::Info(InfoError::Missing { key }) if key == "SIZE(printk_info)"));
    let error = log_of(LITTLE_64, "", vec![0; 0x1000]).unwrap_err();
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
    assert_eq!(log_of(LITTLE_64, RECORDS_INFO, memory).unwrap(), (2, expected.to_owned()));
}

#[test]
fn a_damaged_older_buffer_is_told() {
    let short = record_buffer(0, 32, &[(0, 8, "")]);
    assert!(matches!(log_of(LITTLE_64, RECORDS_INFO, short), Err(Error::Damaged { value: 8, .. })));
    let outside = record_buffer(128, 32, &[]);
    assert!(matches!(
        log_of(LITTLE_64, RECORDS_INFO, outside),
        Err(Error::Damaged { value: 128, .. })
    ));
    let info = RECORDS_INFO.replace("SIZE(printk_log)=16", "SIZE(printk_log)=0");
    let none = log_of(LITTLE_64, &info, record_buffer(0, 32, &[]));
    assert!(matches!(none, Err(Error::Damaged { what: "size of a record's header", value: 0 })));
    let empty = record_buffer(0, 32, &[]);
    assert_eq!(log_of(LITTLE_64, RECORDS_INFO, empty).unwrap().0, 0);
}
