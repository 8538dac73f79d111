//! Which code of the kernel runs first, and why not another.

use crate::facts::Arch;
use crate::facts::x86::Cpu;
use crate::image::{BzImage, XloadFlags};
use crate::plan::x86::kaslr::{Fixed, Seed};
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
    /// A 64-bit kernel on a machine that runs in 32-bit mode.
    #[error(
        "the running kernel is a 32-bit one, so a 64-bit kernel starts by its bzImage's 32-bit entry"
    )]
    Machine32Bit,
    /// Before boot protocol 2.12 (Linux 3.8) there is no xloadflags: whether it is a 64-bit kernel, and
    /// what it can, is not known.
    #[error("the bzImage's boot protocol is older than 2.12 and does not say what the kernel can")]
    OldProtocol,
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
    /// 5-level paging is on and the kernel shall not keep it.
    #[error(
        "5-level paging is on and the command line has no5lvl: the kernel's decompressor must switch \
         to 4 levels"
    )]
    FourLevelsWanted,
    /// AMD SME or SEV.
    #[error("AMD memory encryption is active: the kernel's decompressor must set it up")]
    AmdMemoryEncryption,
    /// Intel TDX.
    #[error("this is a TDX guest: the kernel's decompressor must accept its memory")]
    TdxGuest,
    /// Auto, for a reboot: the address would not be random, though nobody asked for that.
    #[error("the kernel's decompressor chooses its random address (KASLR): {0}")]
    Kaslr(Fixed),
    /// Found out while unpacking; the loader says it.
    #[error("the bzImage's payload could not be unpacked")]
    Unpack,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What was asked for.
    pub wanted: Wanted,
    /// `--entry-32bit`
    pub entry_32bit: bool,
    /// What the kernel is for.
    pub target: Target,
    /// The kernel.
    pub image: &'a BzImage<'a>,
    /// The running kernel's architecture: purgatory runs in its mode.
    pub arch: Arch,
    /// CPU features that are active.
    pub cpu: Cpu,
    /// The next kernel's command line has `no5lvl`.
    pub no5lvl: bool,
    /// Random numbers for the kernel's address, or why there are none.
    pub seed: Result<Seed, Fixed>,
}

impl Situation<'_> {
    /// Chooses the entry. With [`Wanted::Direct`] an obstacle is an error.
    pub fn choose(&self) -> Result<Choice, Obstacle> {
        let direct = Choice { mode: EntryMode::Direct, reason: None };
        match self.wanted {
            Wanted::BzImage => Ok(self.fallback(None)),
            Wanted::Direct => self.obstacle().map_or(Ok(direct), Err),
            Wanted::Auto => {
                let obstacle = self.obstacle().or(self.fixed().map(Obstacle::Kaslr));
                Ok(obstacle.map_or(direct, |obstacle| self.fallback(Some(obstacle))))
            }
        }
    }

    /// The bzImage's own entry, for `reason`: the 64-bit one, unless there is none, purgatory cannot
    /// get there, or its code does not know the five levels of page tables that it would run on.
    /// (The 32-bit one starts without page tables.)
    pub fn fallback(&self, reason: Option<Obstacle>) -> Choice {
        let flags = self.image.header.xloadflags;
        let knows_levels = !self.cpu.la57 || flags.contains(XloadFlags::LEVEL5);
        let by_64bit =
            !self.entry_32bit && self.is_64bit() && self.arch != Arch::I386 && knows_levels;
        Choice { mode: if by_64bit { EntryMode::BzImage64 } else { EntryMode::BzImage32 }, reason }
    }

    fn is_64bit(&self) -> bool {
        self.image.header.xloadflags.contains(XloadFlags::KERNEL_64)
    }

    /// Why the address of a kernel for a reboot would not be random, unless that is the user's wish.
    fn fixed(&self) -> Option<Fixed> {
        let fixed = self.seed.err().filter(|fixed| *fixed != Fixed::Nokaslr);
        fixed.filter(|_| self.target == Target::Reboot)
    }

    fn obstacle(&self) -> Option<Obstacle> {
        let Self { image, cpu, .. } = self;
        let is_64bit = self.is_64bit();
        let five_level_kernel = image.header.xloadflags.contains(XloadFlags::LEVEL5_ENABLED);
        [
            (self.entry_32bit, Obstacle::Entry32Bit),
            (is_64bit && self.arch == Arch::I386, Obstacle::Machine32Bit),
            (image.header.version < 0x020c, Obstacle::OldProtocol),
            (image.payload.is_none(), Obstacle::NoPayload),
            (!image.header.relocatable_kernel, Obstacle::NotRelocatable),
            (is_64bit && cpu.la57 && !five_level_kernel, Obstacle::FiveLevelPaging),
            (is_64bit && cpu.la57 && self.no5lvl, Obstacle::FourLevelsWanted),
            (cpu.amd_memory_encryption, Obstacle::AmdMemoryEncryption),
            (cpu.tdx_guest, Obstacle::TdxGuest),
        ]
        .into_iter()
        .find_map(|(applies, obstacle)| applies.then_some(obstacle))
    }
}
