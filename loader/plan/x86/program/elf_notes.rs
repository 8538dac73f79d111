//! ELF boot notes: the loader's name and version, and the command line, as position-independent ELF
//! notes behind a header with a checksum.
//!
//! Layout: kexec-tools 2.0.32 include/boot/elf_boot.h. All fields are little-endian.

use alloc::vec::Vec;

use super::LOADER;

const SIGNATURE: u32 = 0x0e1f_b007;
/// b_signature, b_size, b_checksum, b_records.
const HEADER: usize = 12;
const CHECKSUM: usize = 8;

const BOOTLOADER_NAME: u32 = 2;
const BOOTLOADER_VERSION: u32 = 3;
const COMMAND_LINE: u32 = 4;

/// In front of the notes: the stack of a 32-bit program that is entered as a C function. Purgatory
/// overwrites the doubleword below its top.
const STACK: usize = 80;
/// Offset of the return address, which there is none of, and of the argument behind it.
const STACK_TOP: usize = 64;

/// The stack and the notes, for physical address `base`.
pub fn with_stack(command_line: &str, base: u64) -> Vec<u8> {
    let mut bytes = alloc::vec![0; STACK];
    let argument = address(base).to_le_bytes();
    // Where a 32-bit program's argument is, `base` is below 4 GiB.
    bytes[STACK_TOP + 4..STACK_TOP + 8].copy_from_slice(&argument[..4]);
    bytes.extend(notes(command_line));
    bytes
}

/// Where a 32-bit program's stack is.
pub fn stack(base: u64) -> u64 {
    base + STACK_TOP as u64
}

/// Where the notes are.
pub fn address(base: u64) -> u64 {
    base + STACK as u64
}

fn notes(command_line: &str) -> Vec<u8> {
    let notes = [
        (BOOTLOADER_NAME, LOADER),
        (BOOTLOADER_VERSION, env!("CARGO_PKG_VERSION")),
        (COMMAND_LINE, command_line),
    ];
    let mut bytes = alloc::vec![0; HEADER];
    for (kind, text) in notes {
        // Text is a command line or shorter: far from 4 GiB.
        let length = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
        for field in [0, length, kind] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(text.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&SIGNATURE.to_le_bytes());
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    bytes[CHECKSUM + 2..HEADER].copy_from_slice(&3_u16.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The Internet's (RFC 1071), over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.as_chunks::<2>().0.iter().fold(0_u32, |sum, pair| {
        let sum = sum + u32::from(u16::from_le_bytes(*pair));
        (sum & 0xffff) + (sum >> 16)
    });
    // Both halves were added up: it is a 16-bit number.
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_makes_the_sum_all_ones() {
        let notes = notes("console=ttyS0 x");
        assert_eq!(checksum(&notes), 0);
        assert_eq!(notes[..4], SIGNATURE.to_le_bytes());
        assert_eq!(u32::from_le_bytes(notes[4..8].try_into().unwrap()) as usize, notes.len());
        assert!(notes.windows(16).any(|text| text == b"console=ttyS0 x\0"));
    }

    #[test]
    fn a_32_bit_program_finds_the_notes_on_its_stack() {
        let base = 0x20_0000;
        let bytes = with_stack("", base);
        let at = usize::try_from(stack(base) - base).unwrap();
        assert_eq!(bytes[at..at + 4], [0; 4]);
        let argument = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        assert_eq!(u64::from(argument), address(base));
        let notes = usize::try_from(address(base) - base).unwrap();
        assert_eq!(bytes[notes..notes + 4], SIGNATURE.to_le_bytes());
    }
}
