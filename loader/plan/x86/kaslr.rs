//! KASLR of a kernel that is entered directly. Who would choose its addresses otherwise, its
//! decompressor, does not run (kernel 6.1 arch/x86/boot/compressed/kaslr.c).

use crate::image::Vmlinux;
use crate::plan::command_line::words;
use crate::plan::place::below;
use crate::range::PhysRange;

/// The virtual addresses of a 64-bit kernel built with CONFIG_RANDOMIZE_BASE, and of a 32-bit
/// kernel's random part, end so far above the first one (`KERNEL_IMAGE_SIZE`, kernel 6.1
/// arch/x86/include/asm/page_64_types.h and page_32_types.h).
const IMAGE_SIZE_64: u64 = 1 << 30;
const IMAGE_SIZE_32: u64 = 512 << 20;

/// Random numbers to choose by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Chooses the physical address; a 32-bit kernel's virtual one follows it.
    pub physical: u64,
    /// Chooses a 64-bit kernel's virtual address.
    pub virtual_64: u64,
}

/// Where a kernel that is entered directly runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bases {
    /// Physical address of its first byte.
    pub physical: u64,
    /// Virtual address of its first byte: `_text`.
    pub virtual_address: u64,
    /// Why they are not random.
    pub fixed: Option<Fixed>,
}

/// Why a kernel's address is not random; the message is one clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fixed {
    /// The user's wish.
    #[error("nokaslr is on the command line")]
    Nokaslr,
    /// A kernel that takes memory which its command line gives to something else does not start.
    #[error(
        "mem=, memmap=, movable_node or hugepages= is on the command line, and only the kernel's \
         decompressor knows what memory they leave"
    )]
    MemoryParameter,
    /// Early in a boot.
    #[error("the running kernel has no random numbers yet")]
    NoRandomness,
    /// CONFIG_RANDOMIZE_BASE is off, or it is the vmlinux of the kernel's build, whose table is only in
    /// the bzImage.
    #[error(
        "no relocation table follows the kernel: it is built without KASLR, or not out of a bzImage"
    )]
    NoTable,
}

/// Random numbers for the kernel with this command line, or why it is to have none.
pub fn seed(command_line: &str, seed: Option<Seed>) -> Result<Seed, Fixed> {
    const MEMORY: [&str; 5] = ["mem=", "memmap=", "movable_node", "hugepages=", "hugepagesz="];
    if words(command_line).any(|word| word == "nokaslr") {
        return Err(Fixed::Nokaslr);
    }
    if words(command_line).any(|word| MEMORY.iter().any(|parameter| word.starts_with(parameter))) {
        return Err(Fixed::MemoryParameter);
    }
    seed.ok_or(Fixed::NoRandomness)
}

/// The physical addresses that KASLR may give to a kernel which is linked for `linked`: not below
/// it, where firmware and boot loaders have their data.
pub fn window(vmlinux: &Vmlinux<'_>, linked: PhysRange) -> PhysRange {
    let end = if vmlinux.is_64 { u64::MAX } else { IMAGE_SIZE_32 };
    PhysRange::new(linked.start, end.max(linked.start))
}

/// How far above the virtual address that it is linked for a 64-bit kernel runs: any multiple of
/// `align` with which all of `linked` remains inside of what the kernel's page tables map.
pub fn virtual_distance(linked: PhysRange, align: u64, random: u64) -> u64 {
    let room = IMAGE_SIZE_64.saturating_sub(linked.end);
    below(random, room / align + 1) * align
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: Seed = Seed { physical: 1, virtual_64: 2 };

    #[test]
    fn the_command_line_can_forbid_it() {
        for (line, expected) in [
            ("", Ok(SEED)),
            ("quiet xnokaslr nokaslr=1 memtest=3", Ok(SEED)),
            ("quiet nokaslr mem=1G", Err(Fixed::Nokaslr)),
            ("mem=1G", Err(Fixed::MemoryParameter)),
            ("quiet memmap=1G!4G", Err(Fixed::MemoryParameter)),
            ("movable_node", Err(Fixed::MemoryParameter)),
            ("hugepagesz=1G hugepages=2", Err(Fixed::MemoryParameter)),
        ] {
            assert_eq!(seed(line, Some(SEED)), expected, "{line}");
        }
        assert_eq!(seed("", None), Err(Fixed::NoRandomness));
    }

    #[test]
    fn the_whole_range_is_used() {
        let linked = PhysRange::new(16 << 20, 48 << 20);
        let align = 2 << 20;
        assert_eq!(virtual_distance(linked, align, 0), 0);
        assert_eq!(virtual_distance(linked, align, u64::MAX), (1 << 30) - (48 << 20));
        let too_large = PhysRange::new(16 << 20, 2 << 30);
        assert_eq!(virtual_distance(too_large, align, u64::MAX), 0);
    }

    proptest! {
        #[test]
        fn the_kernel_stays_in_its_mapping(
            start in 0_u64..512,
            length in 1_u64..0x2000_0000,
            shift in 21_u32..25,
            random: u64,
        ) {
            let linked = PhysRange::new(start << 21, (start << 21) + length);
            let align = 1 << shift;
            let distance = virtual_distance(linked, align, random);
            prop_assert!(distance.is_multiple_of(align));
            prop_assert!(distance == 0 || linked.end + distance <= 1 << 30);
        }
    }
}
