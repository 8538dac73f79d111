//! Copying and clearing memory by string instructions: address 0, which is the usual source of a
//! backup, is no valid pointer in Rust. A word at a time: an emulator, or a CPU without fast
//! strings, counts each step.

use core::arch::asm;

/// Bytes of the words that are moved.
const WORD: usize = size_of::<usize>();

/// Copies `length` bytes.
///
/// # Safety
///
/// Both ranges are memory, they do not overlap, and no Rust object is in the destination.
pub unsafe fn copy(source: usize, destination: usize, length: usize) {
    let (words, rest) = (length / WORD, length % WORD);
    // SAFETY: the caller's.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) rest,
            inout("rcx") words => _,
            inout("rsi") source => _,
            inout("rdi") destination => _,
            options(nostack, preserves_flags));
    }
    // SAFETY: the caller's; esi, which the compiler keeps for itself, ends as it was. (It may hand
    // it out where any register will do, so each one is named.)
    #[cfg(target_arch = "x86")]
    unsafe {
        asm!("xchg esi, eax",
            "rep movsd",
            "mov ecx, edx",
            "rep movsb",
            "mov esi, eax",
            inout("eax") source => _,
            in("edx") rest,
            inout("ecx") words => _,
            inout("edi") destination => _,
            options(nostack, preserves_flags));
    }
}

/// Clears `length` bytes.
///
/// # Safety
///
/// They are memory in which no Rust object is.
pub unsafe fn zero(address: usize, length: usize) {
    let (words, rest) = (length / WORD, length % WORD);
    // SAFETY: the caller's.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("rep stosq",
            "mov rcx, {rest}",
            "rep stosb",
            rest = in(reg) rest,
            inout("rcx") words => _,
            inout("rdi") address => _,
            in("rax") 0_usize,
            options(nostack, preserves_flags));
    }
    // SAFETY: the caller's.
    #[cfg(target_arch = "x86")]
    unsafe {
        asm!("rep stosd",
            "mov ecx, {rest}",
            "rep stosb",
            rest = in(reg) rest,
            inout("ecx") words => _,
            inout("edi") address => _,
            in("eax") 0_usize,
            options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_and_cleared_and_no_other() {
        let mut from = [0_u8; 40];
        from.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
        for length in 0..=32 {
            let mut to = [0xee_u8; 40];
            // SAFETY: both arrays are longer, and nothing else uses `to` meanwhile.
            unsafe { copy((&raw const from).addr(), (&raw mut to).addr(), length) };
            assert_eq!(to[..length], from[..length]);
            assert!(to[length..].iter().all(|&byte| byte == 0xee));

            let mut to = from;
            // SAFETY: the array is longer, and nothing else uses it meanwhile.
            unsafe { zero((&raw mut to).addr(), length) };
            assert!(to[..length].iter().all(|&byte| byte == 0));
            assert_eq!(to[length..], from[length..]);
        }
    }
}
