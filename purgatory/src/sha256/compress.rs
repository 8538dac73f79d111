//! The SHA-256 compression function (FIPS 180-4, 6.2.2) for CPUs without instructions for it.
//!
//! Own code, because an image must be small and yet no slower than the one it replaces. `sha2`
//! has two shapes: one of 10 KiB, and a compact one, which on x86_64 does 0.92 times what the
//! code of kexec-tools 2.0.25 does. With kexec-tools' own flags, and the shortest of many passes
//! on one busy CPU:
//!
//! | | bytes of code | instructions a byte, x86_64 | i386 | MB/s, x86_64 | i386 |
//! |---|---|---|---|---|---|
//! | kexec-tools, 64 rounds written out | 10.7 K | 53.4 | 61.2 | 241 | 189 |
//! | this | 1.3 K | 46.0 | 55.5 | 263 | 218 |
//!
//! What makes the difference: eight rounds to a step, after which the working variables are back
//! in their registers without having been moved; rotations of rotations, which need one register
//! and no copies where a CPU's instructions overwrite an operand; and the majority by a term that
//! one round leaves to the next.

use super::{Block, State};

/// The 64 round constants, where vector instructions can load them.
#[repr(C, align(16))]
pub struct RoundConstants([u32; 64]);

/// FIPS 180-4, 4.2.2.
#[rustfmt::skip]
pub static ROUND_CONSTANTS: RoundConstants = RoundConstants([
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);

/// Compresses `blocks` into `state`.
#[inline(never)] // One copy in the image.
pub fn compress(state: &mut State, blocks: &[Block]) {
    for block in blocks {
        rounds(state, &schedule(block));
    }
}

/// The 64 message words.
#[inline]
fn schedule(block: &Block) -> [u32; 64] {
    let mut words = [0; 64];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for first in (16..64).step_by(4) {
        // Written out: for size, the compiler leaves loops as they are.
        next_word(&mut words, first);
        next_word(&mut words, first + 1);
        next_word(&mut words, first + 2);
        next_word(&mut words, first + 3);
    }
    words
}

#[inline(always)]
fn next_word(words: &mut [u32; 64], t: usize) {
    words[t] = small_sigma_1(words[t - 2])
        .wrapping_add(words[t - 7])
        .wrapping_add(small_sigma_0(words[t - 15]))
        .wrapping_add(words[t - 16]);
}

#[inline]
fn rounds(state: &mut State, words: &[u32; 64]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let mut b_xor_c = b ^ c;

    // In the next round every variable has the name of the one before it, and h is the new a.
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:expr) => {
            let choice = $g ^ ($e & ($f ^ $g));
            let t1 = $h.wrapping_add(big_sigma_1($e)).wrapping_add(choice).wrapping_add($word);
            $d = $d.wrapping_add(t1);
            let a_xor_b = $a ^ $b;
            let majority = $b ^ (a_xor_b & b_xor_c);
            $h = t1.wrapping_add(big_sigma_0($a)).wrapping_add(majority);
            b_xor_c = a_xor_b;
        };
    }
    let constants = ROUND_CONSTANTS.0.as_chunks::<8>().0;
    for (words, constants) in words.as_chunks::<8>().0.iter().zip(constants) {
        let word = |t: usize| words[t].wrapping_add(constants[t]);
        round!(a b c d e f g h, word(0));
        round!(h a b c d e f g, word(1));
        round!(g h a b c d e f, word(2));
        round!(f g h a b c d e, word(3));
        round!(e f g h a b c d, word(4));
        round!(d e f g h a b c, word(5));
        round!(c d e f g h a b, word(6));
        round!(b c d e f g h a, word(7));
    }
    for (word, variable) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(variable);
    }
}

/// By 2, 13 and 22.
#[inline(always)]
fn big_sigma_0(x: u32) -> u32 {
    ((x.rotate_right(9) ^ x).rotate_right(11) ^ x).rotate_right(2)
}

/// By 6, 11 and 25.
#[inline(always)]
fn big_sigma_1(x: u32) -> u32 {
    ((x.rotate_right(14) ^ x).rotate_right(5) ^ x).rotate_right(6)
}

/// By 7 and 18, shifted by 3.
#[inline(always)]
fn small_sigma_0(x: u32) -> u32 {
    (x.rotate_right(11) ^ x).rotate_right(7) ^ x >> 3
}

/// By 17 and 19, shifted by 10.
#[inline(always)]
fn small_sigma_1(x: u32) -> u32 {
    (x.rotate_right(2) ^ x).rotate_right(17) ^ x >> 10
}

#[cfg(test)]
mod tests {
    use sha2::block_api::compress256;

    use super::*;

    #[test]
    fn every_number_of_blocks_agrees_with_sha2() {
        let mut blocks = [[0; 64]; 12];
        for (byte, value) in blocks.as_flattened_mut().iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        for count in 0..=blocks.len() {
            let start = [1, 2, 3, 4, 5, 6, 7, 0x8000_0000];
            let (mut state, mut expected) = (start, start);
            compress256(&mut expected, &blocks[..count]);
            compress(&mut state, &blocks[..count]);
            assert_eq!(state, expected, "{count} blocks");
        }
    }
}
