//! The lockless ring buffer of kernels from 5.10
//! (kernel/printk/printk_ringbuffer.h and Documentation/admin-guide/kdump/gdbmacros.txt,
//! Linux 6.1).
//!
//! A ring of descriptors says for each record its state and where its text is in a ring of bytes;
//! a ring of infos with the same indices has its time and length. Positions in the rings are
//! logical: they count on and are taken modulo the ring's size.

use std::io::Write;

use super::{Error, write_record};
use crate::address::{KernelMemory, Virtual};
use crate::vmcore::VmcoreInfo;

/// No ring of text has more than 2^31 bytes, and there is a descriptor for each 32 of them
/// (kernel/printk/printk.c, `LOG_BUF_LEN_MAX` and `PRB_AVGBITS`, Linux 6.1).
const MAX_TEXT_BITS: u32 = 31;
const MAX_COUNT_BITS: u32 = MAX_TEXT_BITS - 5;

/// States of a descriptor, in the top two bits of its `state_var`.
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

pub(super) fn write_log(memory: &mut KernelMemory<'_>, out: &mut impl Write) -> Result<u64, Error> {
    let ring = Ring::read(memory)?;
    let (mut records, mut bytes) = (0, 0);
    let mut id = ring.tail_id;
    // At most once around, whatever the ids say.
    for _ in 0..ring.count {
        if let Some(text) = ring.text_of(memory, id)? {
            // Records that share their text could be more than any disk has room for.
            bytes += text.bytes.len() as u64;
            if bytes > ring.text_size {
                return Err(Error::Damaged { what: "length of all records", value: bytes });
            }
            write_record(out, text.nanoseconds, &text.bytes)?;
            records += 1;
        }
        if id == ring.head_id {
            break;
        }
        id = id.wrapping_add(1) & ring.id_mask;
    }
    Ok(records)
}

/// What a record says, and when it was said.
struct Text {
    nanoseconds: u64,
    bytes: Vec<u8>,
}

struct Ring {
    layout: Layout,
    /// Number of descriptors, a power of two.
    count: u64,
    descriptors: Virtual,
    infos: Virtual,
    head_id: u64,
    tail_id: u64,
    /// The bits of a `long` that are an id.
    id_mask: u64,
    /// Size of the text ring in bytes, a power of two.
    text_size: u64,
    text: Virtual,
}

/// Sizes and offsets in bytes.
struct Layout {
    long: u64,
    descriptor_size: u64,
    state: u64,
    begin: u64,
    next: u64,
    info_size: u64,
    ts_nsec: u64,
    text_len: u64,
}

impl Layout {
    fn of(info: &VmcoreInfo, is_64: bool) -> Result<Self, Error> {
        let blk_lpos = info.offset("prb_desc.text_blk_lpos")?;
        let counter = info.offset("atomic_long_t.counter")?;
        Ok(Self {
            long: if is_64 { 8 } else { 4 },
            descriptor_size: info.size("prb_desc")?,
            state: add("offset of state_var", info.offset("prb_desc.state_var")?, counter)?,
            begin: add("offset of begin", blk_lpos, info.offset("prb_data_blk_lpos.begin")?)?,
            next: add("offset of next", blk_lpos, info.offset("prb_data_blk_lpos.next")?)?,
            info_size: info.size("printk_info")?,
            ts_nsec: info.offset("printk_info.ts_nsec")?,
            text_len: info.offset("printk_info.text_len")?,
        })
    }
}

impl Ring {
    fn read(memory: &mut KernelMemory<'_>) -> Result<Self, Error> {
        let headers = memory.headers();
        let info = &headers.info;
        let layout = Layout::of(info, headers.is_64)?;
        let buffer = Virtual(memory.read_long(info.symbol("prb")?)?);
        let ring = buffer.plus(info.offset("printk_ringbuffer.desc_ring")?)?;
        let text_ring = buffer.plus(info.offset("printk_ringbuffer.text_data_ring")?)?;
        let counter = info.offset("atomic_long_t.counter")?;
        let mut long = |base: Virtual, member: &str, inner: u64| {
            memory.read_long(base.plus(info.offset(member)?)?.plus(inner)?).map_err(Error::from)
        };
        let id_mask = (1 << (layout.long * 8 - 2)) - 1;
        let head_id = long(ring, "prb_desc_ring.head_id", counter)? & id_mask;
        let tail_id = long(ring, "prb_desc_ring.tail_id", counter)? & id_mask;
        let descriptors = Virtual(long(ring, "prb_desc_ring.descs", 0)?);
        let infos = Virtual(long(ring, "prb_desc_ring.infos", 0)?);
        let text = Virtual(long(text_ring, "prb_data_ring.data", 0)?);
        let mut size = |base: Virtual, member: &'static str, most: u32| {
            let bits = memory.read_u32(base.plus(info.offset(member)?)?)?;
            if bits > most {
                return Err(Error::Damaged { what: member, value: bits.into() });
            }
            Ok(1 << bits)
        };
        let count = size(ring, "prb_desc_ring.count_bits", MAX_COUNT_BITS)?;
        let text_size = size(text_ring, "prb_data_ring.size_bits", MAX_TEXT_BITS)?;
        Ok(Self { layout, count, descriptors, infos, head_id, tail_id, id_mask, text_size, text })
    }

    /// The text of record `id`, if it is complete and has one.
    fn text_of(&self, memory: &mut KernelMemory<'_>, id: u64) -> Result<Option<Text>, Error> {
        let layout = &self.layout;
        let index = id % self.count;
        let descriptor = self.descriptors.plus(entry(index, layout.descriptor_size)?)?;
        let state_var = memory.read_long(descriptor.plus(layout.state)?)?;
        let state = state_var >> (layout.long * 8 - 2);
        if !matches!(state, COMMITTED | FINALIZED) || state_var & self.id_mask != id {
            return Ok(None);
        }
        let begin = memory.read_long(descriptor.plus(layout.begin)?)?;
        let next = memory.read_long(descriptor.plus(layout.next)?)?;
        let Some((at, capacity)) = self.text_block(begin, next) else { return Ok(None) };
        let info = self.infos.plus(entry(index, layout.info_size)?)?;
        let nanoseconds = memory.read_u64(info.plus(layout.ts_nsec)?)?;
        let length = usize::from(memory.read_u16(info.plus(layout.text_len)?)?);
        let mut bytes = vec![0; length.min(usize::try_from(capacity).unwrap_or(usize::MAX))];
        memory.read(self.text.plus(at)?, &mut bytes)?;
        Ok(Some(Text { nanoseconds, bytes }))
    }

    /// Offset of a block's text in the ring and how many bytes it can have. `None` for a block
    /// without data.
    fn text_block(&self, begin: u64, next: u64) -> Option<(u64, u64)> {
        // Data is aligned; an odd position says that there is none.
        if begin & 1 != 0 {
            return None;
        }
        let (start, end) = (begin % self.text_size, next % self.text_size);
        let (start, end) = match end {
            0 if start > 0 => (start, self.text_size),
            // A block that does not fit at the end stands at the beginning, as a whole.
            _ if start >= end => (0, end),
            _ => (start, end),
        };
        // The descriptor's id comes first.
        let text = start + self.layout.long;
        Some((text, end.checked_sub(text)?))
    }
}

fn entry(index: u64, size: u64) -> Result<u64, Error> {
    index.checked_mul(size).ok_or(Error::Damaged { what: "size of an entry", value: size })
}

fn add(what: &'static str, one: u64, other: u64) -> Result<u64, Error> {
    one.checked_add(other).ok_or(Error::Damaged { what, value: one })
}
