//! SHA-256 (FIPS 180-4) of one message or of four at once: padding and chaining. The compression
//! function is [`compress`], or the machine's.

mod compress;

use core::array;

pub use compress::{ROUND_CONSTANTS, RoundConstants, compress};

/// Chaining value.
pub type State = [u32; 8];
/// One message block.
pub type Block = [u8; 64];
/// A digest.
pub type Digest = [u8; 32];

/// FIPS 180-4, 5.3.3.
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The digest of one message.
pub fn digest(message: &[u8]) -> Digest {
    finish(INITIAL, message, message.len())
}

/// The digests of four messages. As many blocks as all of them have go through `compress_four`,
/// which can work on them side by side; what is left of the longer ones goes through a single
/// stream.
pub fn digest_four(
    compress_four: impl FnOnce(&mut [State; 4], [&[Block]; 4]),
    messages: [&[u8]; 4],
) -> [Digest; 4] {
    let blocks = messages.map(|message| message.as_chunks::<64>().0);
    let common = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut states = [INITIAL; 4];
    compress_four(&mut states, blocks.map(|blocks| &blocks[..common]));
    array::from_fn(|n| finish(states[n], &messages[n][common * 64..], messages[n].len()))
}

/// Hashes `rest`, the end of a message of `length` bytes, and the padding.
fn finish(mut state: State, rest: &[u8], length: usize) -> Digest {
    let (blocks, tail) = rest.as_chunks::<64>();
    compress(&mut state, blocks);

    // The tail, 0x80, zeroes, and the length in bits: one block, or two if it does not fit.
    let mut padding = [[0; 64]; 2];
    let bytes = padding.as_flattened_mut();
    bytes[..tail.len()].copy_from_slice(tail);
    bytes[tail.len()] = 0x80;
    let end = if tail.len() < 56 { 64 } else { 128 };
    bytes[end - 8..end].copy_from_slice(&(length as u64 * 8).to_be_bytes());
    compress(&mut state, &padding[..end / 64]);

    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        (0..251).cycle().take(length).collect()
    }

    fn one_after_the_other(states: &mut [State; 4], blocks: [&[Block]; 4]) {
        for (state, blocks_of_one) in states.iter_mut().zip(blocks) {
            assert_eq!(blocks_of_one.len(), blocks[0].len());
            compress(state, blocks_of_one);
        }
    }

    #[test]
    fn every_padding_length_agrees_with_sha2() {
        for length in 0..300 {
            let message = message(length);
            assert_eq!(digest(&message)[..], sha2::Sha256::digest(&message)[..], "{length}");
        }
    }

    #[test]
    fn four_messages_of_any_lengths_agree_with_sha2() {
        for lengths in [[0; 4], [64, 64, 64, 191], [1, 500, 64, 65], [1000, 640, 1064, 3]] {
            let messages = lengths.map(message);
            let digests = digest_four(one_after_the_other, messages.each_ref().map(Vec::as_slice));
            for (digest, message) in digests.iter().zip(&messages) {
                assert_eq!(digest[..], sha2::Sha256::digest(message)[..], "{lengths:?}");
            }
        }
    }
}
