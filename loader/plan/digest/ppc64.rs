//! On ppc64 hosts by purgatory's own code: `sha2` has none for the CPU's SHA-256 instructions.

use alloc::vec::Vec;

use purgatory::params::Region;
use purgatory::sha256::{Block, State, digest_four};
use purgatory_ppc64::sha256;

use super::{Quarters, threads};

/// The vector instructions of Power ISA 2.07 (AT_HWCAP2, kernel 6.1
/// arch/powerpc/include/uapi/asm/cputable.h: PPC_FEATURE2_ARCH_2_07, PPC_FEATURE2_VEC_CRYPTO).
const VSHASIGMA: u64 = 0x8000_0000 | 0x0200_0000;
/// Vector and VSX registers that the kernel lets programs use (AT_HWCAP: PPC_FEATURE_HAS_ALTIVEC,
/// PPC_FEATURE_HAS_VSX).
const VECTORS: u64 = 0x1000_0000 | 0x0000_0080;

/// The digests of all `regions`, in order, on as many threads as the machine has CPUs; each region
/// is a piece of work, because its quarters are digested side by side.
pub fn digest_all(regions: &[&[u8]]) -> Vec<Quarters> {
    let compress_four = if has_vshasigma() { by_vshasigma } else { by_scalar_code };
    threads::map(regions, |region| digest_four(compress_four, Region::quarters(region)))
}

/// Whether the kernel says that the CPU has the instructions and programs may use them. (rustix
/// looks for getauxval at run time, and finds none in a static program.)
#[allow(unsafe_code)]
fn has_vshasigma() -> bool {
    // SAFETY: it reads what the kernel gave to the process, and returns 0 for what it did not.
    let [hwcap, hwcap2] =
        [libc::AT_HWCAP, libc::AT_HWCAP2].map(|kind| unsafe { libc::getauxval(kind) });
    hwcap & VECTORS == VECTORS && hwcap2 & VSHASIGMA == VSHASIGMA
}

/// Called only where [`has_vshasigma`].
#[allow(unsafe_code)]
fn by_vshasigma(states: &mut [State; 4], blocks: [&[Block]; 4]) {
    // SAFETY: `digest_all` asked the kernel.
    unsafe { sha256::compress_four(states, blocks) }
}

fn by_scalar_code(states: &mut [State; 4], blocks: [&[Block]; 4]) {
    for (state, blocks) in states.iter_mut().zip(blocks) {
        sha256::compress_scalar(state, blocks);
    }
}
