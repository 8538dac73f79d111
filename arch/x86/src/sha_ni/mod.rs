//! SHA-256 by the CPU's SHA instructions, four streams as two interleaved pairs.
//!
//! One stream waits for the four-cycle latency of `sha256rnds2` most of the time; a second,
//! independent one fills the gaps, and there is nothing left for more. It is assembly because the images' targets have no vector
//! registers for the compiler, which keeps SSE out of all other code.

use core::arch::global_asm;

use purgatory::sha256::{Block, ROUND_CONSTANTS, State};

#[cfg(target_arch = "x86_64")]
global_asm!(
    include_str!("common.S"),
    include_str!("pair64.S"),
    ROUND_CONSTANTS = sym ROUND_CONSTANTS,
);
#[cfg(target_arch = "x86")]
global_asm!(
    include_str!("common.S"),
    include_str!("pair32.S"),
    ROUND_CONSTANTS = sym ROUND_CONSTANTS,
);

unsafe extern "C" {
    fn purgatory_sha256_pair(
        states: *mut [State; 2],
        first: *const Block,
        second: *const Block,
        count: usize,
    );
}

/// Compresses the streams' blocks into their states, two and two. Of the longer one of two, the
/// blocks that the other has not are left out.
///
/// # Safety
///
/// The CPU has SHA, SSSE3 and SSE4.1, and SSE instructions do not fault (CR0.EM and CR0.TS are
/// clear, CR4.OSFXSR is set).
pub unsafe fn compress_four(states: &mut [State; 4], blocks: [&[Block]; 4]) {
    let pairs = states.as_chunks_mut().0.iter_mut().zip(blocks.as_chunks().0);
    for (states, [first, second]) in pairs {
        let count = first.len().min(second.len());
        // SAFETY: `count` blocks can be read at either address, and both states be written; the
        // function keeps to the C ABI, and the caller vouches for the CPU.
        unsafe { purgatory_sha256_pair(states, first.as_ptr(), second.as_ptr(), count) }
    }
}

#[cfg(test)]
mod tests {
    use core::array;

    use sha2::block_api::compress256;

    use super::*;
    use crate::cpu;

    #[test]
    fn all_streams_agree_with_sha2() {
        assert!(cpu::has_sha_ni(), "this test needs a CPU with SHA instructions");
        let mut blocks = [[0; 64]; 48];
        for (byte, value) in blocks.as_flattened_mut().iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        for count in 0..=12 {
            let streams: [&[Block]; 4] = array::from_fn(|n| &blocks[12 * n..][..count]);
            let start = [[1, 2, 3, 4, 5, 6, 7, 0x8000_0000], [9; 8], [10; 8], [u32::MAX; 8]];
            let mut expected = start;
            for (state, blocks) in expected.iter_mut().zip(streams) {
                compress256(state, blocks);
            }

            let mut states = start;
            // SAFETY: the CPU was asked; an operating system has SSE switched on.
            unsafe { compress_four(&mut states, streams) };
            assert_eq!(states, expected, "{count} blocks");
        }
    }
}
