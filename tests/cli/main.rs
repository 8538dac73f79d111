//! What the built `kexec` says and does, on synthetic kernels and a captured machine.
//!
//! Nothing here loads, unloads or starts a kernel: `program` refuses to run anything but
//! `--dry-run` and the options that only print. What needs a real load is in tests/e2e, in a
//! guest.

mod bad_input;
mod debian;
#[cfg(feature = "every-arch")]
mod golden;
mod i386;
mod information;
mod kernels;
mod plan;
#[cfg(feature = "every-arch")]
mod ppc64;
mod program;
