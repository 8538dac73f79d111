//! The instructions that a ppc64 image may have, by section: purgatory finds floating point and
//! vectors switched off, or their registers full of the dead kernel's data.
//!
//! The registers that an instruction uses follow from its opcode (Power ISA 3.0B appendix F), so
//! that nothing more of it is decoded.

use object::read::File;
use object::{Endianness, Object};

use super::{AuditError, Code, symbol_at};

/// `tdi 0, 0, 0x48`, a trap that is never taken. In the other byte order the same word is
/// `b . + 8`, so that the code behind it can tell which order it runs in
/// (arch/ppc64/src/byte_order.S).
const OTHER_ORDER_SKIPS: u32 = 0x0800_0048;

/// Decodes one section's code from its first word to its last.
pub fn check_code(file: &File<'_>, code: Code<'_>) -> Result<(), AuditError> {
    let digest = match code.section {
        ".text" => false,
        ".digest" => true,
        other => return Err(AuditError::UnknownCode(other.into())),
    };
    let words: Vec<u32> = code
        .bytes
        .as_chunks()
        .0
        .iter()
        .map(|&word| match file.endianness() {
            Endianness::Little => u32::from_le_bytes(word),
            Endianness::Big => u32::from_be_bytes(word),
        })
        .collect();
    let mut other_order = 0..0;
    for (index, &word) in words.iter().enumerate() {
        if index > 0 && words[index - 1] == OTHER_ORDER_SKIPS {
            other_order = index + 1..end_of_other_order(index, word);
        }
        let word = if other_order.contains(&index) { word.swap_bytes() } else { word };
        let feature = match registers(word) {
            Registers::General => continue,
            Registers::Vector if digest => continue,
            Registers::Vector => "vector registers",
            Registers::FloatingPoint => "floating-point registers",
            Registers::Unknown => "a newer CPU",
        };
        let offset = 4 * index as u64;
        return Err(AuditError::Instruction {
            section: code.section.into(),
            offset,
            symbol: symbol_at(file, code.address + offset),
            mnemonic: format!("{word:#010x}"),
            feature: feature.into(),
        });
    }
    Ok(())
}

/// Index behind the words for the other byte order that follow `word`, at `index`: it branches
/// over them, or to itself to wait for ever, as the one word after it does.
fn end_of_other_order(index: usize, word: u32) -> usize {
    let is_branch = word >> 26 == 18;
    let ahead = (word & 0x03ff_fffc) as usize / 4;
    if is_branch && (2..0x100).contains(&ahead) { index + ahead } else { index + 2 }
}

/// What an instruction uses besides the registers that are always there.
enum Registers {
    General,
    FloatingPoint,
    Vector,
    /// It is not in Power ISA 2.07, or should not be in a program.
    Unknown,
}

fn registers(word: u32) -> Registers {
    match word >> 26 {
        // Padding: the one word that is no instruction on any CPU.
        0 if word == 0 => Registers::General,
        2 | 3 | 7 | 8 | 10..=21 | 23..=30 | 32..=47 | 58 | 62 => Registers::General,
        31 => registers_extended(word >> 1 & 0x3ff),
        4 | 60 => Registers::Vector,
        48..=55 | 57 | 59 | 61 | 63 => Registers::FloatingPoint,
        _ => Registers::Unknown,
    }
}

/// Of primary opcode 31, by its extended opcode.
fn registers_extended(extended: u32) -> Registers {
    match (extended, extended & 0x1f) {
        // mfvsrd, mfvsrwz, mtvsrd, mtvsrwa, mtvsrwz; dst, dstst, dss.
        (51 | 115 | 179 | 211 | 243 | 342 | 374 | 822, _) => Registers::Vector,
        // lvsl, lvsr; lvx and its kin; VSX loads and stores.
        (_, 6 | 7 | 12 | 13) => Registers::Vector,
        // lfsx and its kin.
        (535.., 23) => Registers::FloatingPoint,
        _ => Registers::General,
    }
}
