//! SHA-256 (FIPS 180-4) of one message or of two at once: padding and chaining. The compression
//! function is [`compress`], or the machine's.

mod compress;

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

/// The digests of two messages. As many blocks as both have go through `compress_pair`, which
/// can interleave them; what is left of the longer one goes through a single stream.
pub fn digest_pair(
    compress_pair: impl FnOnce(&mut [State; 2], [&[Block]; 2]),
    messages: [&[u8]; 2],
) -> [Digest; 2] {
    let [first, second] = messages.map(|message| message.as_chunks::<64>().0);
    let common = first.len().min(second.len());
    let mut states = [INITIAL; 2];
    compress_pair(&mut states, [&first[..common], &second[..common]]);

    let [first, second] = messages;
    [
        finish(states[0], &first[common * 64..], first.len()),
        finish(states[1], &second[common * 64..], second.len()),
    ]
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

    fn one_after_the_other(states: &mut [State; 2], blocks: [&[Block]; 2]) {
        assert_eq!(blocks[0].len(), blocks[1].len());
        compress(&mut states[0], blocks[0]);
        compress(&mut states[1], blocks[1]);
    }

    #[test]
    fn every_padding_length_agrees_with_sha2() {
        for length in 0..300 {
            let message = message(length);
            assert_eq!(digest(&message)[..], sha2::Sha256::digest(&message)[..], "{length}");
        }
    }

    #[test]
    fn two_messages_of_any_two_lengths_agree_with_sha2() {
        for (first, second) in [(0, 0), (64, 64), (64, 191), (1, 500), (640, 3), (1000, 1064)] {
            let (first, second) = (message(first), message(second));
            let digests = digest_pair(one_after_the_other, [&first, &second]);
            assert_eq!(digests[0][..], sha2::Sha256::digest(&first)[..]);
            assert_eq!(digests[1][..], sha2::Sha256::digest(&second)[..]);
        }
    }
}
