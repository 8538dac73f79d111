//! Which code of the kernel runs first, and why not another.

use crate::facts::x86::Cpu;
use crate::image::{BzImage, XloadFlags};
use crate::plan::{EntryMode, Target};

/// What the user asked for (`--entry-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What is best for the target.
    #[default]
    Auto,
    /// The unpacked kernel's own entry, or an error.
    Direct,
    /// The bzImage's entry.
    BzImage,
}

/// The entry for a bzImage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which entry.
    pub mode: EntryMode,
    /// Why it is not [`EntryMode::Direct`], if nobody asked for that.
    pub reason: Option<Obstacle>,
}

/// What stands against entering a bzImage's kernel directly; its message is one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// `--entry-32bit`
    #[error("--entry-32bit asks for the bzImage's 32-bit entry")]
    Entry32Bit,
    /// No 64-bit kernel (or one built without CONFIG_RELOCATABLE and 64-bit entry).
    #[error("the bzImage has no 64-bit entry (XLF_KERNEL_64 in xloadflags is clear)")]
    Not64Bit,
    /// The header names no payload.
    #[error("the bzImage's header names no compressed payload that could be unpacked")]
    NoPayload,
    /// The kernel must run where it is linked.
    #[error("the kernel is not relocatable (relocatable_kernel is 0 in its header)")]
    NotRelocatable,
    /// 5-level paging is on and the kernel cannot keep it.
    #[error(
        "5-level paging is on and the kernel is built without it (XLF_5LEVEL_ENABLED is clear): \
         its decompressor must switch to 4 levels"
    )]
    FiveLevelPaging,
    /// AMD SME or SEV.
    #[error("AMD memory encryption is active: the kernel's decompressor must set it up")]
    AmdMemoryEncryption,
    /// Intel TDX.
    #[error("this is a TDX guest: the kernel's decompressor must accept its memory")]
    TdxGuest,
    /// Auto, for a reboot.
    #[error(
        "for a reboot the kernel's decompressor runs, because it randomizes the kernel's address \
         (KASLR); --entry-mode=direct starts without both"
    )]
    Kaslr,
    /// Found out while unpacking; the loader says it.
    #[error("the bzImage's payload could not be unpacked")]
    Unpack,
}

/// Chooses the entry of a bzImage. With [`Wanted::Direct`] an obstacle is an error.
pub fn choose(
    wanted: Wanted,
    entry_32bit: bool,
    target: Target,
    image: &BzImage<'_>,
    cpu: Cpu,
) -> Result<Choice, Obstacle> {
    let obstacle = obstacle(entry_32bit, image, cpu);
    match (wanted, obstacle, target) {
        (Wanted::Direct, Some(obstacle), _) => Err(obstacle),
        (Wanted::Direct, None, _) | (Wanted::Auto, None, Target::Crash) => {
            Ok(Choice { mode: EntryMode::Direct, reason: None })
        }
        (Wanted::BzImage, _, _) => Ok(fallback(entry_32bit, image, cpu, None)),
        (Wanted::Auto, Some(obstacle), _) => Ok(fallback(entry_32bit, image, cpu, Some(obstacle))),
        (Wanted::Auto, None, Target::Reboot) => {
            Ok(fallback(entry_32bit, image, cpu, Some(Obstacle::Kaslr)))
        }
    }
}

/// The bzImage's own entry, for `reason`: the 64-bit one, unless there is none or its code does
/// not know the five levels of page tables that it would run on. (The 32-bit one starts without
/// page tables.)
pub fn fallback(
    entry_32bit: bool,
    image: &BzImage<'_>,
    cpu: Cpu,
    reason: Option<Obstacle>,
) -> Choice {
    let flags = image.header.xloadflags;
    let knows_levels = !cpu.la57 || flags.contains(XloadFlags::LEVEL5);
    let by_64bit = !entry_32bit && flags.contains(XloadFlags::KERNEL_64) && knows_levels;
    Choice { mode: if by_64bit { EntryMode::BzImage64 } else { EntryMode::BzImage32 }, reason }
}

fn obstacle(entry_32bit: bool, image: &BzImage<'_>, cpu: Cpu) -> Option<Obstacle> {
    let flags = image.header.xloadflags;
    [
        (entry_32bit, Obstacle::Entry32Bit),
        (!flags.contains(XloadFlags::KERNEL_64), Obstacle::Not64Bit),
        (image.payload.is_none(), Obstacle::NoPayload),
        (!image.header.relocatable_kernel, Obstacle::NotRelocatable),
        (cpu.la57 && !flags.contains(XloadFlags::LEVEL5_ENABLED), Obstacle::FiveLevelPaging),
        (cpu.amd_memory_encryption, Obstacle::AmdMemoryEncryption),
        (cpu.tdx_guest, Obstacle::TdxGuest),
    ]
    .into_iter()
    .find_map(|(applies, obstacle)| applies.then_some(obstacle))
}
