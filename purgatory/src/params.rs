//! The parameter block: everything the loader tells purgatory.
//!
//! It sits in a section of its own ([`SECTION`]) of the purgatory image. The linker fills it;
//! nothing else in the image is patched. Fields have fixed widths and the endianness of the
//! machine purgatory runs on. All addresses are physical.

use core::mem::{offset_of, size_of};

/// Name of the image's section that holds one [`Params`].
pub const SECTION: &str = ".purgatory.params";
/// First field of every block: "PURGPARM" read as a big-endian number.
pub const MAGIC: u64 = 0x5055_5247_5041_524d;
/// Layout version. The loader refuses an image whose block says another one.
pub const VERSION: u32 = 3;
/// Room for regions: one for each kexec segment (KEXEC_SEGMENT_MAX is 16, kernel 6.1
/// include/uapi/linux/kexec.h) and one for purgatory's own code.
pub const REGIONS_MAX: usize = 17;
/// Room for ranges that purgatory zeroes.
pub const ZERO_MAX: usize = 8;

bitflags::bitflags! {
    /// What purgatory is asked to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Check the regions' digests (cleared by `kexec --no-checks`).
        const VERIFY = 1;
        /// Copy `backup` before the handoff (crash kernels).
        const BACKUP = 1 << 1;
    }

    /// Where purgatory's lines go. Empty: purgatory is silent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ConsoleFlags: u32 {
        /// 8250 UART at I/O port `serial_base`.
        const SERIAL_PORT = 1;
        /// VGA text memory at 0xb8000.
        const VGA_TEXT = 1 << 1;
        /// Put the VGA back into text mode first (`kexec --reset-vga`).
        const RESET_VGA = 1 << 2;
        /// The hypervisor's virtual terminal `terminal` (PAPR, `H_PUT_TERM_CHAR`).
        const HYPERVISOR = 1 << 3;
        /// OPAL's terminal `terminal` (skiboot doc/opal-api, `OPAL_CONSOLE_WRITE`).
        const OPAL = 1 << 4;
    }
}

/// What to do when a region's digest does not match, or purgatory itself faults (then `Ignore` is
/// `Reset`: there is nothing to go on with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum OnMismatch {
    /// Reset the machine: it returns to service without a dump.
    #[default]
    Reset = 0,
    /// Stop with interrupts off, the message still on the console.
    Halt = 1,
    /// Say so and hand over anyway.
    Ignore = 2,
}

impl OnMismatch {
    /// The policy with this number; an unknown number is `Reset`, the policy that ends.
    pub fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Halt,
            2 => Self::Ignore,
            _ => Self::Reset,
        }
    }
}

/// How the next kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HandoffMode {
    /// x86_64: 64-bit mode on the identity page tables that purgatory was entered with, CS=0x10,
    /// data segments 0x18, IF=0 (kernel 6.1 Documentation/x86/boot.rst, "64-bit Boot Protocol").
    /// The 8 bytes below the given rsp are overwritten.
    X86Long = 1,
    /// x86: 32-bit protected mode, paging off, EFER.LME clear, CR4=0, flat segments CS=0x10,
    /// DS=0x18, IF=0 (same document, "32-bit Boot Protocol"). Purgatory's image and the given rsp
    /// must lie below 4 GiB; the 64 bytes below the given rsp are overwritten.
    X86Protected = 2,
    /// ppc64: real mode, big-endian whatever the kernel is (kernel 6.1
    /// arch/powerpc/kernel/head_64.S, `__start`). Purgatory writes the number of the CPU it runs
    /// on to `boot_cpuid_phys` of the device tree in r3, and its own `run_at_load` word to the
    /// kernel's at 0x5c.
    Ppc64 = 3,
}

impl HandoffMode {
    /// The mode with this number, if there is one.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::X86Long),
            2 => Some(Self::X86Protected),
            3 => Some(Self::Ppc64),
            _ => None,
        }
    }
}

/// One part of memory that must be as the loader left it.
///
/// It is hashed as four quarters ([`Region::quarters`]), so that independent SHA-256 streams can
/// run side by side: two at once are 1.5 times as fast as one with the SHA instructions of x86,
/// and vector instructions work on four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// First byte; not 0, where nothing can be verified.
    pub address: u64,
    /// Length in bytes: what was loaded (`bufsz`), not the padding after it.
    pub length: u64,
    /// SHA-256 of each quarter.
    pub digest: [[u8; 32]; 4],
    /// Name for messages, ASCII, padded with NUL: "kernel", "initrd", …
    pub name: [u8; 16],
}

impl Region {
    /// A region's bytes as four quarters: equally many whole 64-byte blocks each, the last one
    /// with what is left besides (less than four blocks).
    pub fn quarters(bytes: &[u8]) -> [&[u8]; 4] {
        let quarter = bytes.len() / 4 / 64 * 64;
        let (first, rest) = bytes.split_at(quarter);
        let (second, rest) = rest.split_at(quarter);
        let (third, fourth) = rest.split_at(quarter);
        [first, second, third, fourth]
    }
}

/// A range of physical memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// First byte.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Memory that the capture kernel will use and the dump needs: copied away first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Backup {
    /// First byte of the memory to save.
    pub source: u64,
    /// Where the copy goes, inside the crash kernel's reserved memory.
    pub destination: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Where purgatory reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Console {
    /// [`ConsoleFlags`].
    pub flags: u32,
    /// Baud rate to program, or 0 to leave the UART as the dead kernel had it.
    pub serial_baud: u32,
    /// First I/O port of the UART (0x3f8 is ttyS0).
    pub serial_base: u64,
    /// Which terminal of the hypervisor (the unit address of its `vty` node) or of OPAL.
    pub terminal: u64,
}

/// How to enter the next kernel: data that the loader decided on, purgatory only executes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Handoff {
    /// [`HandoffMode`].
    pub mode: u32,
    /// Zero.
    pub reserved: u32,
    /// First instruction of the next kernel.
    pub entry: u64,
    /// Register contents. x86: rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp (0 keeps purgatory's own).
    /// ppc64: r3 to r10.
    pub registers: [u64; 8],
}

/// Indices into [`Handoff::registers`] on x86.
pub mod x86 {
    /// rax
    pub const RAX: usize = 0;
    /// rbx
    pub const RBX: usize = 1;
    /// rcx
    pub const RCX: usize = 2;
    /// rdx
    pub const RDX: usize = 3;
    /// rsi: physical address of `boot_params` for Linux
    pub const RSI: usize = 4;
    /// rdi
    pub const RDI: usize = 5;
    /// rbp
    pub const RBP: usize = 6;
    /// rsp
    pub const RSP: usize = 7;
}

/// Indices into [`Handoff::registers`] on ppc64.
pub mod ppc64 {
    /// r3: physical address of the flattened device tree
    pub const R3: usize = 0;
    /// r4: physical address of the kernel
    pub const R4: usize = 1;
    /// r5: zero, which says that there is no Open Firmware to call
    pub const R5: usize = 2;
    /// r8: OPAL's base address, 0 without OPAL
    pub const R8: usize = 5;
    /// r9: OPAL's entry, 0 without OPAL
    pub const R9: usize = 6;
}

/// Firmware that purgatory calls on ppc64: for its console and to reset the machine. All zero
/// elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Firmware {
    /// Where RTAS is (`linux,rtas-base`), 0 if there is none.
    pub rtas_base: u64,
    /// First instruction of RTAS (`linux,rtas-entry`).
    pub rtas_entry: u64,
    /// Where OPAL is (`opal-base-address`), 0 if there is none.
    pub opal_base: u64,
    /// First instruction of OPAL (`opal-entry-address`).
    pub opal_entry: u64,
    /// RTAS's token for `system-reboot`.
    pub system_reboot: u32,
    /// Zero.
    pub reserved: u32,
}

/// The block itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Params {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// `size_of::<Params>()`.
    pub size: u32,
    /// SHA-256 of all bytes after this field, to the end of the block.
    pub digest: [u8; 32],
    /// [`Flags`].
    pub flags: u32,
    /// [`OnMismatch`].
    pub on_mismatch: u32,
    /// Where purgatory reports.
    pub console: Console,
    /// What to save before the handoff; used with [`Flags::BACKUP`].
    pub backup: Backup,
    /// How to enter the next kernel.
    pub handoff: Handoff,
    /// What purgatory calls.
    pub firmware: Firmware,
    /// Number of entries of `zero` in use.
    pub zero_count: u32,
    /// Number of entries of `regions` in use.
    pub region_count: u32,
    /// Memory that purgatory clears before the handoff: parts of a kernel's image that hold only
    /// zeroes and so were neither loaded nor digested.
    pub zero: [Span; ZERO_MAX],
    /// What is verified, in order.
    pub regions: [Region; REGIONS_MAX],
}

/// Offset in [`Params`] of the first byte that [`Params::digest`] covers.
pub const DIGESTED_FROM: usize = offset_of!(Params, digest) + 32;

// The layout is an ABI between two programs that may be built by different compilers.
const _: () = {
    assert!(size_of::<Region>() == 160);
    assert!(offset_of!(Params, digest) == 16);
    assert!(offset_of!(Params, flags) == 48);
    assert!(offset_of!(Params, console) == 56);
    assert!(offset_of!(Params, backup) == 80);
    assert!(offset_of!(Params, handoff) == 104);
    assert!(offset_of!(Params, firmware) == 184);
    assert!(offset_of!(Params, zero_count) == 224);
    assert!(offset_of!(Params, zero) == 232);
    assert!(offset_of!(Params, regions) == 360);
    assert!(size_of::<Params>() == 360 + 160 * REGIONS_MAX);
};

impl Params {
    /// An empty block: nothing to verify, nothing to save, nowhere to go.
    #[expect(clippy::cast_possible_truncation, reason = "the size is asserted above")]
    pub const EMPTY: Self = Self {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<Self>() as u32,
        digest: [0; 32],
        flags: 0,
        on_mismatch: OnMismatch::Reset as u32,
        console: Console { flags: 0, serial_baud: 0, serial_base: 0, terminal: 0 },
        backup: Backup { source: 0, destination: 0, length: 0 },
        handoff: Handoff { mode: 0, reserved: 0, entry: 0, registers: [0; 8] },
        firmware: Firmware {
            rtas_base: 0,
            rtas_entry: 0,
            opal_base: 0,
            opal_entry: 0,
            system_reboot: 0,
            reserved: 0,
        },
        zero_count: 0,
        region_count: 0,
        zero: [Span { address: 0, length: 0 }; ZERO_MAX],
        regions: [Region { address: 0, length: 0, digest: [[0; 32]; 4], name: [0; 16] };
            REGIONS_MAX],
    };
}
