//! What each machine has for SHA-256: instructions, and code for CPUs without them.

#[cfg(target_arch = "powerpc64")]
pub use power::{KIND, by_instructions, compress_scalar};
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub use x86::{KIND, by_instructions, compress_scalar};

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86 {
    pub use purgatory::sha256::compress as compress_scalar;
    use purgatory_x86::{cpu, sha_ni};

    use crate::CompressFour;

    pub const KIND: &str = "sha-ni";

    pub fn by_instructions() -> Result<CompressFour, String> {
        if !cpu::has_sha_ni() {
            return Err("this CPU has no SHA instructions".into());
        }
        // SAFETY: the CPU was asked; an operating system has SSE switched on.
        Ok(|states, blocks| unsafe { sha_ni::compress_four(states, blocks) })
    }
}

#[cfg(target_arch = "powerpc64")]
mod power {
    use purgatory_ppc64::sha256;
    pub use purgatory_ppc64::sha256::compress_scalar;

    use crate::CompressFour;

    pub const KIND: &str = "vshasigma";

    /// What the CPU can do is not asked: `cpu::has_vshasigma` reads a register that programs may
    /// not read. On one that is older than POWER8 the program ends by SIGILL.
    pub fn by_instructions() -> Result<CompressFour, String> {
        // SAFETY: an operating system has vectors switched on; see above for the CPU.
        Ok(|states, blocks| unsafe { sha256::compress_four(states, blocks) })
    }
}
