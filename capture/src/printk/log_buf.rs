//! The buffer of records of kernels from 3.5 to 5.9 (kernel/printk/printk.c, `struct printk_log`,
//! Linux 5.4): each record has a header with its whole length, then its text.

use std::io::Write;

use super::{Error, write_record};
use crate::address::{KernelMemory, Virtual};

/// Bytes of `struct printk_log` in every kernel that has it, at least: how far it is to the next
/// record.
const LEAST_HEADER: u64 = 16;

pub(super) fn write_log(memory: &mut KernelMemory<'_>, out: &mut impl Write) -> Result<u64, Error> {
    let info = &memory.headers().info;
    // The structure's name before 3.11.
    let name = if info.size("printk_log").is_ok() { "printk_log" } else { "log" };
    let header_size = info.size(name)?;
    if header_size < LEAST_HEADER {
        return Err(Error::Damaged { what: "size of a record's header", value: header_size });
    }
    let ts_nsec = info.offset(&format!("{name}.ts_nsec"))?;
    let len = info.offset(&format!("{name}.len"))?;
    let text_len = info.offset(&format!("{name}.text_len"))?;
    let buffer = Virtual(memory.read_long(info.symbol("log_buf")?)?);
    let size = u64::from(memory.read_u32(info.symbol("log_buf_len")?)?);
    let first = u64::from(memory.read_u32(info.symbol("log_first_idx")?)?);
    let next = u64::from(memory.read_u32(info.symbol("log_next_idx")?)?);

    let (mut records, mut at, mut walked) = (0, first, 0);
    // At most once around, whatever the lengths say.
    while at != next && walked < size {
        if at >= size {
            return Err(Error::Damaged { what: "index of a record", value: at });
        }
        let record = buffer.plus(at)?;
        let length = u64::from(memory.read_u16(record.plus(len)?)?);
        if length == 0 {
            // The rest of the buffer was too short for the next record.
            walked += size - at;
            at = 0;
            continue;
        }
        if length < header_size {
            return Err(Error::Damaged { what: "length of a record", value: length });
        }
        let nanoseconds = memory.read_u64(record.plus(ts_nsec)?)?;
        // What is longer than its record is damaged.
        let text_length = u64::from(memory.read_u16(record.plus(text_len)?)?);
        let text_length = text_length.min(length - header_size);
        let mut text = vec![0; usize::try_from(text_length).unwrap_or_default()];
        memory.read(record.plus(header_size)?, &mut text)?;
        write_record(out, nanoseconds, &text)?;
        records += 1;
        at += length;
        walked += length;
    }
    Ok(records)
}
