//! SHA-256 by the vector instructions of Power ISA 2.07, two streams side by side.
//!
//! The instructions work on four words at once, but a round depends on the one before it: a
//! second, independent stream comes for free. It is assembly because the image's target has no
//! vector registers for the compiler, which keeps them out of all other code.

use core::arch::global_asm;

use purgatory::sha256::{Block, State};

global_asm!(
    include_str!("vshasigma.S"),
    LITTLE_ENDIAN = const cfg!(target_endian = "little") as u32,
);

unsafe extern "C" {
    fn purgatory_sha256_pair(
        states: *mut [State; 2],
        first: *const Block,
        second: *const Block,
        count: usize,
    );
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

#[cfg(test)]
mod tests {
    use sha2::block_api::compress256;

    use super::*;

    /// Runs on a POWER8 or later, or under `qemu-ppc64le`.
    #[test]
    fn both_streams_agree_with_sha2() {
        let mut blocks = [[0; 64]; 25];
        for (byte, value) in blocks.as_flattened_mut().iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        // One byte off, because a segment may start anywhere.
        let (odd, _) = blocks.as_flattened()[1..].as_chunks::<64>();
        let (first, second) = odd.split_at(12);
        for count in 0..=12 {
            let start = [[1, 2, 3, 4, 5, 6, 7, 0x8000_0000], [9, 10, 11, 12, 13, 14, 15, 16]];
            let mut expected = start;
            compress256(&mut expected[0], &first[..count]);
            compress256(&mut expected[1], &second[..count]);

            let mut states = start;
            // SAFETY: the operating system has vectors switched on; see above for the CPU.
            unsafe { compress_pair(&mut states, [&first[..count], &second[..count]]) };
            assert_eq!(states, expected, "{count} blocks");
        }
    }
}
