//! SHA-256 for this machine: by the vector instructions of Power ISA 2.07, four streams side
//! by side, or in general registers.
//!
//! The vector instructions work on four words at once, but a round depends on the one before it:
//! each word is another stream's. Both are assembly: the image's target has no vector
//! registers for the compiler, and in general registers the compiler's code is slower than that
//! of kexec-tools. In instructions for each byte, counted by qemu-ppc64le (big-endian is within 5
//! in 100):
//!
//! | | instructions | bytes of code |
//! |---|---|---|
//! | kexec-tools 2.0.25, its own flags, GCC 12 | 36.9 | |
//! | [`purgatory::sha256::compress`] | 43.1 | 1.6 K |
//! | [`compress_scalar`] | 35.0 | 4.4 K |
//! | [`compress_four`] | 4.5 | 2.0 K |

use core::arch::global_asm;

use purgatory::sha256::{Block, ROUND_CONSTANTS, State};

global_asm!(
    include_str!("vshasigma.S"),
    include_str!("scalar.S"),
    LITTLE_ENDIAN = const cfg!(target_endian = "little") as u32,
    ROUND_CONSTANTS = sym ROUND_CONSTANTS,
);

unsafe extern "C" {
    fn purgatory_sha256_four(
        states: *mut [State; 4],
        first: *const Block,
        second: *const Block,
        third: *const Block,
        fourth: *const Block,
        count: usize,
    );
    fn purgatory_sha256_scalar(state: *mut State, blocks: *const Block, count: usize);
}

/// Compresses the streams' blocks into their states. Blocks that the shortest one has not are
/// left out.
///
/// # Safety
///
/// The CPU has the vector instructions of Power ISA 2.07, and vector and VSX instructions do not
/// fault (MSR[VEC] and MSR[VSX] are set).
pub unsafe fn compress_four(states: &mut [State; 4], blocks: [&[Block]; 4]) {
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let [first, second, third, fourth] = blocks.map(<[Block]>::as_ptr);
    // SAFETY: `count` blocks can be read at each address, and all states be written; the function
    // keeps to the C ABI, and the caller vouches for the CPU.
    unsafe { purgatory_sha256_four(states, first, second, third, fourth, count) }
}

/// Compresses `blocks` into `state`, on any CPU.
pub fn compress_scalar(state: &mut State, blocks: &[Block]) {
    // SAFETY: the blocks can be read, and the state be written; the function keeps to the C ABI.
    unsafe { purgatory_sha256_scalar(state, blocks.as_ptr(), blocks.len()) }
}

#[cfg(test)]
mod tests {
    use core::array;

    use sha2::block_api::compress256;

    use super::*;

    /// One byte off, because a segment may start anywhere.
    fn check(compress: impl Fn(&mut [State; 4], [&[Block]; 4])) {
        let mut blocks = [[0; 64]; 49];
        for (byte, value) in blocks.as_flattened_mut().iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        let (odd, _) = blocks.as_flattened()[1..].as_chunks::<64>();
        for count in 0..=12 {
            let streams: [&[Block]; 4] = array::from_fn(|n| &odd[12 * n..][..count]);
            let start = [[1, 2, 3, 4, 5, 6, 7, 0x8000_0000], [9; 8], [10; 8], [u32::MAX; 8]];
            let mut expected = start;
            for (state, blocks) in expected.iter_mut().zip(streams) {
                compress256(state, blocks);
            }
            let mut states = start;
            compress(&mut states, streams);
            assert_eq!(states, expected, "{count} blocks");
        }
    }

    /// Needs a POWER8 or later, as `qemu-ppc64le` has.
    #[test]
    fn all_streams_agree_with_sha2() {
        // SAFETY: the operating system has vectors switched on; see above for the CPU.
        check(|states, blocks| unsafe { compress_four(states, blocks) });
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
