//! SHA-256 for this machine: by the vector instructions of Power ISA 2.07, two streams side by
//! side, or in general registers.
//!
//! The vector instructions work on four words at once, but a round depends on the one before it: a
//! second, independent stream comes for free. Both are assembly: the image's target has no vector
//! registers for the compiler, and in general registers the compiler's code is slower than that
//! of kexec-tools. In instructions for each byte, counted by qemu-ppc64le (big-endian is within 5
//! in 100):
//!
//! | | instructions | bytes of code |
//! |---|---|---|
//! | kexec-tools 2.0.25, its own flags, GCC 12 | 36.9 | |
//! | [`purgatory::sha256::compress`] | 43.1 | 1.6 K |
//! | [`compress_scalar`] | 35.0 | 4.4 K |
//! | [`compress_pair`] | 8.2 | 2.2 K |

use core::arch::global_asm;

use purgatory::sha256::{Block, ROUND_CONSTANTS, State};

global_asm!(
    include_str!("vshasigma.S"),
    include_str!("scalar.S"),
    LITTLE_ENDIAN = const cfg!(target_endian = "little") as u32,
    ROUND_CONSTANTS = sym ROUND_CONSTANTS,
);

unsafe extern "C" {
    fn purgatory_sha256_pair(
        states: *mut [State; 2],
        first: *const Block,
        second: *const Block,
        count: usize,
    );
    fn purgatory_sha256_scalar(state: *mut State, blocks: *const Block, count: usize);
}

/// Compresses both streams' blocks into their states. Of the longer one, the blocks that the
/// other has not are left out.
///
/// # Safety
///
/// The CPU has the vector instructions of Power ISA 2.07, and vector and VSX instructions do not
/// fault (MSR[VEC] and MSR[VSX] are set).
pub unsafe fn compress_pair(states: &mut [State; 2], [first, second]: [&[Block]; 2]) {
    let count = first.len().min(second.len());
    // SAFETY: `count` blocks can be read at either address, and both states be written; the
    // function keeps to the C ABI, and the caller vouches for the CPU.
    unsafe { purgatory_sha256_pair(states, first.as_ptr(), second.as_ptr(), count) }
}

/// Compresses `blocks` into `state`, on any CPU.
pub fn compress_scalar(state: &mut State, blocks: &[Block]) {
    // SAFETY: the blocks can be read, and the state be written; the function keeps to the C ABI.
    unsafe { purgatory_sha256_scalar(state, blocks.as_ptr(), blocks.len()) }
}

#[cfg(test)]
mod tests {
    use sha2::block_api::compress256;

    use super::*;

    const START: [State; 2] = [[1, 2, 3, 4, 5, 6, 7, 0x8000_0000], [9, 10, 11, 12, 13, 14, 15, 16]];

    /// One byte off, because a segment may start anywhere.
    fn check(compress: impl Fn(&mut [State; 2], [&[Block]; 2])) {
        let mut blocks = [[0; 64]; 25];
        for (byte, value) in blocks.as_flattened_mut().iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        let (odd, _) = blocks.as_flattened()[1..].as_chunks::<64>();
        let (first, second) = odd.split_at(12);
        for count in 0..=12 {
            let mut expected = START;
            compress256(&mut expected[0], &first[..count]);
            compress256(&mut expected[1], &second[..count]);
            let mut states = START;
            compress(&mut states, [&first[..count], &second[..count]]);
            assert_eq!(states, expected, "{count} blocks");
        }
    }

    /// Needs a POWER8 or later, as `qemu-ppc64le` has.
    #[test]
    fn both_streams_agree_with_sha2() {
        // SAFETY: the operating system has vectors switched on; see above for the CPU.
        check(|states, blocks| unsafe { compress_pair(states, blocks) });
    }

    #[test]
    fn scalar_code_agrees_with_sha2() {
        check(|states, blocks| {
            for (state, blocks) in states.iter_mut().zip(blocks) {
                compress_scalar(state, blocks);
            }
        });
    }
}
