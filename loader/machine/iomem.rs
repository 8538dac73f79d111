//! /proc/iomem: the tree of physical address ranges as the running kernel uses them.

use super::{
    MachineError, ParseError, Sysroot,
    parse::{hexadecimal, inclusive_range},
};
use crate::range::{self, PhysRange};

const IOMEM: &str = "proc/iomem";

/// One line of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The physical addresses.
    pub range: PhysRange,
    /// The kernel's name for it, such as `System RAM`.
    pub name: String,
}

/// The whole tree, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iomem {
    resources: Vec<Resource>,
}

impl Iomem {
    /// Reads the tree. Memory hotplug may change it between two reads of a page of it, so it is
    /// read until two reads in a row agree.
    pub fn read(root: &Sysroot) -> Result<Self, MachineError> {
        let text = stable(|| root.required_text(IOMEM))?
            .ok_or_else(|| MachineError::Unstable { path: root.path(IOMEM), reads: READS })?;
        if hides_addresses(&text) {
            return Err(MachineError::AddressesHidden { path: root.path(IOMEM) });
        }
        let iomem = Self::parse(&text)
            .map_err(|source| MachineError::Malformed { path: root.path(IOMEM), source })?;
        if iomem.system_ram().is_empty() {
            return Err(MachineError::NoSystemRam { path: root.path(IOMEM) });
        }
        Ok(iomem)
    }

    /// Parses the file: `start-last : name`, indented by depth.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut resources = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let resource = line.trim_start().split_once(" : ").and_then(|(range, name)| {
                Some(Resource { range: inclusive_range(range)?, name: name.to_owned() })
            });
            resources.push(resource.ok_or_else(|| {
                ParseError::new(index.saturating_add(1), "`start-end : name`", line)
            })?);
        }
        Ok(Self { resources })
    }

    /// RAM at any depth, sorted, disjoint: hot-plugged memory is below the device that brings it
    /// ("System RAM (kmem)", "System RAM (virtio_mem)"). A GART aperture mapped over RAM is left
    /// out: reading it in the capture kernel may hang the machine.
    pub fn system_ram(&self) -> Vec<PhysRange> {
        let ram = self.named(|name| name.starts_with("System RAM"));
        range::subtract(&ram, &self.named(|name| name == "GART"))
    }

    /// The "Crash kernel" reservations, by address.
    pub fn crash_ranges(&self) -> Vec<PhysRange> {
        let mut ranges = self.named(|name| name == "Crash kernel");
        ranges.sort_unstable();
        ranges
    }

    /// Every line of the tree, parents before children.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The running kernel's image, from its code to its bss.
    pub fn kernel_image(&self) -> Option<PhysRange> {
        let code = self.named(|name| name == "Kernel code").first().copied()?;
        let parts = self.named(|name| {
            matches!(name, "Kernel code" | "Kernel rodata" | "Kernel data" | "Kernel bss")
        });
        let end = parts.iter().map(|part| part.end).max()?;
        Some(PhysRange::new(code.start, end))
    }

    fn named(&self, wanted: impl Fn(&str) -> bool) -> Vec<PhysRange> {
        let matching = self.resources.iter().filter(|resource| wanted(&resource.name));
        matching.map(|resource| resource.range).collect()
    }
}

/// Reads of a changing file before giving up.
const READS: usize = 16;

/// What two reads in a row agree on; `None` if none of [`READS`] do.
fn stable<T: PartialEq, E>(mut read: impl FnMut() -> Result<T, E>) -> Result<Option<T>, E> {
    let mut last = read()?;
    for _ in 1..READS {
        let next = read()?;
        if next == last {
            return Ok(Some(next));
        }
        last = next;
    }
    Ok(None)
}

/// Whether every address is 0: what a process without CAP_SYS_ADMIN sees.
fn hides_addresses(text: &str) -> bool {
    let mut ranges = text.lines().filter_map(|line| line.trim_start().split_once(" : ")).peekable();
    let zero = |text| hexadecimal(text) == Some(0);
    ranges.peek().is_some()
        && ranges.all(|(range, _)| {
            range.split_once('-').is_some_and(|(start, last)| zero(start) && zero(last))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIOS: &str = include_str!("../../tests/fixtures/sysroot-x86_64-debian-6.1/proc/iomem");

    fn parse(text: &str) -> Iomem {
        Iomem::parse(text).expect("a valid /proc/iomem")
    }

    #[test]
    fn a_real_tree_gives_ram_crash_kernel_and_image() {
        let iomem = parse(BIOS);
        assert_eq!(
            iomem.system_ram(),
            [PhysRange::new(0x1000, 0x9_fc00), PhysRange::new(0x10_0000, 0x3ffe_0000)]
        );
        assert_eq!(iomem.crash_ranges(), [PhysRange::new(0x2f00_0000, 0x3f00_0000)]);
        let image = iomem.kernel_image().unwrap();
        assert_eq!((image.start % 0x20_0000, image.end), (0, image.start + 0x340_0000));
    }

    #[test]
    fn hot_plugged_ram_below_a_device_counts_and_a_gart_hole_does_not() {
        let iomem = parse(
            "100000000-17fffffff : Persistent Memory\n\
             \x20 100000000-17fffffff : dax0.0\n\
             \x20   100000000-17fffffff : System RAM (kmem)\n\
             00100000-bfffffff : System RAM\n\
             \x20 a0000000-a3ffffff : GART\n",
        );
        assert_eq!(
            iomem.system_ram(),
            [
                PhysRange::new(0x10_0000, 0xa000_0000),
                PhysRange::new(0xa400_0000, 0xc000_0000),
                PhysRange::new(0x1_0000_0000, 0x1_8000_0000),
            ]
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = Iomem::parse("0-fff : Reserved\nfoo\n").unwrap_err();
        assert_eq!((error.line, error.found.as_str()), (2, "foo"));
        assert!(Iomem::parse("2-1 : System RAM\n").is_err());
    }

    #[test]
    fn damaged_text_never_panics() {
        for position in 0..BIOS.len() {
            for byte in [b' ', b'-', b':', b'f', b'\n', 0] {
                let mut damaged = BIOS.as_bytes().to_vec();
                damaged[position] = byte;
                if let Ok(iomem) = Iomem::parse(&String::from_utf8_lossy(&damaged)) {
                    let _ = (iomem.system_ram(), iomem.kernel_image());
                }
            }
        }
    }

    #[test]
    fn all_zero_addresses_mean_hidden() {
        assert!(hides_addresses(
            "00000000-00000000 : Reserved\n  00000000-00000000 : Kernel code\n"
        ));
        assert!(!hides_addresses(BIOS));
        assert!(!hides_addresses(""));
    }

    #[test]
    fn a_changing_tree_is_read_until_it_settles() {
        let mut reads = [1, 2, 3, 3, 4].into_iter();
        assert_eq!(stable(|| reads.next().ok_or(())), Ok(Some(3)));
        let mut count = 0;
        let never = stable(|| {
            count += 1;
            Ok::<_, ()>(count)
        });
        assert_eq!((never, count), (Ok(None), READS));
    }
}
