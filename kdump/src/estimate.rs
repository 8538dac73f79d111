//! How much memory the capture kernel needs: what `crashkernel=` must reserve.
//!
//! The parts that can be measured are: the kernel's own file says what it takes, the image has a
//! size, page descriptors follow from the total. The rest are figures chosen so that the sum is
//! above what was in use on guests of four architectures; docs/guide.md has both.

use std::path::{Path, PathBuf};

use capture::dump::MOST_WAITING;
use purgatorio::facts::Arch;
use purgatorio::file::{FileError, InputFile};
use purgatorio::image::Image;
use purgatorio::plan::command_line::words;
use serde::Serialize;

use crate::kernel_image::{self, with_image};
use crate::machine::Machine;
use crate::prepare::Prepared;

/// Bytes of a page descriptor (`struct page`, kernel 6.1).
const STRUCT_PAGE: u64 = 64;

/// What a kernel takes for itself from its start to `/init`: slab caches, hash tables, per-CPU
/// areas of one CPU, threads, device descriptions.
const KERNEL_WORKING: u64 = 14 << 20;

/// The same on POWER, where tables of the MMU and areas of firmware and hypervisor come to it.
const KERNEL_WORKING_POWER: u64 = 36 << 20;

/// The same for each CPU after the first.
const EACH_CPU: u64 = 1 << 20;

/// Buffers of devices for each module that drives one: rings, tags, request queues.
const EACH_DRIVER: u64 = 256 << 10;

/// `kdump-capture` itself: its windows of the dead kernel's memory are mapped, not copied; its
/// buffers are.
const WRITER: u64 = 8 << 20;

/// Buffers of each thread of it.
const EACH_THREAD: u64 = 2 << 20;

/// Purgatory, boot_params or device tree, core headers, and the alignment of each.
const LOADER: u64 = 1 << 20;

/// What the kernel keeps free, one part of so many of everything else.
const HEADROOM: u64 = 10;

/// Reservations are made in units of this.
const UNIT: u64 = 8 << 20;

/// The kernel's file does not say what it needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no kernel.
    #[error("{} is no kernel that can be loaded", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: kernel_image::Error,
    },
}

/// A part of what is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What needs it.
    pub what: &'static str,
    /// How much, in bytes.
    pub bytes: u64,
    /// Where the figure comes from.
    pub why: String,
}

/// What `crashkernel=` must reserve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Everything that needs memory.
    pub parts: Vec<Part>,
    /// The sum, rounded up, in bytes.
    pub total: u64,
}

/// Estimates for what is prepared to be loaded on `machine`.
pub fn estimate(machine: &Machine, prepared: &Prepared) -> Result<Estimate, Error> {
    let wanted = &prepared.wanted;
    let cpus = capture_cpus(&wanted.command_line, &wanted.hardware.cpus);
    Ok(sum(&Measured {
        arch: Arch::of_program(),
        kernel: kernel_size(&machine.of_absolute(&wanted.kernel.path))?,
        image: wanted.image.bytes,
        modules: prepared.module_sizes.iter().sum(),
        drivers: prepared.module_sizes.len() as u64,
        cpus,
        threads: prepared.config.threads.map_or(cpus, |threads| threads.get() as u64),
        page_size: rustix::param::page_size() as u64,
    }))
}

/// What the estimate is made from.
#[derive(Clone, Debug)]
struct Measured {
    arch: Option<Arch>,
    kernel: u64,
    image: u64,
    modules: u64,
    drivers: u64,
    cpus: u64,
    threads: u64,
    page_size: u64,
}

fn sum(measured: &Measured) -> Estimate {
    let more_cpus = measured.cpus.saturating_sub(1);
    let working = match measured.arch {
        Some(Arch::Ppc64le | Arch::Ppc64) => KERNEL_WORKING_POWER,
        Some(Arch::X86_64 | Arch::I386) | None => KERNEL_WORKING,
    };
    let part = |what, bytes, why: &str| Part { what, bytes, why: why.to_owned() };
    let mut parts = vec![
        part("kernel", measured.kernel, "its file says so: code, data, and room to unpack itself"),
        part("image", measured.image, "the initramfs as it is loaded"),
        part("image, unpacked", measured.image, "the same files in memory; both are there at once"),
        part("modules", measured.modules, "their files' sizes, when they are loaded"),
        part(
            "devices",
            measured.drivers.saturating_mul(EACH_DRIVER),
            &format!(
                "queues and buffers: taken as 256 KiB for each of {} modules",
                measured.drivers
            ),
        ),
        part(
            "kernel at work",
            working.saturating_add(more_cpus.saturating_mul(EACH_CPU)),
            &format!(
                "caches, tables, threads; {} CPU(s): as it was on other machines",
                measured.cpus
            ),
        ),
        part(
            "dump writer",
            writer(measured.threads),
            &format!("kdump-capture with {} thread(s)", measured.threads),
        ),
        part("loader", LOADER, "purgatory, boot parameters, core headers"),
    ];
    let known = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    // Each page of the total has a descriptor in it.
    let pages = known / measured.page_size.max(1);
    parts.push(part(
        "page descriptors",
        pages.saturating_mul(STRUCT_PAGE),
        "64 bytes for each page of the reservation",
    ));
    parts.push(part(
        "headroom",
        known / HEADROOM,
        "free pages that the kernel insists on: a tenth",
    ));
    let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    Estimate { parts, total: sum.div_ceil(UNIT).saturating_mul(UNIT) }
}

/// What `kdump-capture` needs. Several threads do not end in the order in which it is written.
fn writer(threads: u64) -> u64 {
    let waiting = if threads > 1 { MOST_WAITING as u64 } else { 0 };
    WRITER.saturating_add(threads.saturating_mul(EACH_THREAD)).saturating_add(waiting)
}

/// Memory that the kernel's file needs, in bytes.
fn kernel_size(path: &Path) -> Result<u64, Error> {
    let file = InputFile::open(path)?;
    with_image(&file, image_size).map_err(|source| Error::Kernel { path: path.to_owned(), source })
}

fn image_size(image: &Image<'_>) -> u64 {
    match image {
        Image::BzImage(image) => image.header.init_size.into(),
        Image::Vmlinux(image) => image.range().len(),
        Image::Multiboot(image) => image.program.range().len(),
    }
}

/// How many CPUs a kernel with this command line starts on a machine with `present` (`0-3,8`).
fn capture_cpus(command_line: &str, present: &str) -> u64 {
    let limits = words(command_line).filter_map(|word| {
        let limit = word.strip_prefix("nr_cpus=").or_else(|| word.strip_prefix("maxcpus="))?;
        limit.parse().ok()
    });
    let ranges = present.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let [first, last] = [first, last].map(|number| number.trim().parse::<u64>().ok());
        last?.checked_sub(first?)?.checked_add(1)
    });
    let present = ranges.fold(0u64, u64::saturating_add);
    limits.fold(present, u64::min).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_limits_the_cpus() {
        assert_eq!(capture_cpus("nr_cpus=1 x", "0-7"), 1);
        assert_eq!(capture_cpus("maxcpus=4", "0-1"), 2);
        assert_eq!(capture_cpus("", "0-3,8,10-11"), 7);
        assert_eq!(capture_cpus("nr_cpus=x", "nonsense"), 1);
    }

    /// A machine, the page size and the size of its kernel, the image for ext4 on virtio with its
    /// modules' size and number, and what of 192 MiB was in use, or taken by the kernel at its start,
    /// while a dump was saved in QEMU, in KiB.
    struct Seen(Arch, u64, u64, u64, u64, u64, u64);

    #[test]
    fn the_estimate_is_above_what_was_seen_and_not_far_above() {
        // Debian's 6.1 cloud, 6.1, 6.12 cloud, 6.1 686-pae, 6.1 (64K pages) and 6.12 for ppc64le,
        // and the big-endian kernel of the harness (64K pages).
        for Seen(arch, page_size, kernel, image, modules, drivers, in_use) in [
            Seen(Arch::X86_64, 4096, 53_968_896, 2_761_992, 277_990, 6, 70_812),
            Seen(Arch::X86_64, 4096, 66_682_880, 5_266_756, 1_900_000, 12, 88_052),
            Seen(Arch::X86_64, 4096, 58_572_800, 2_557_324, 280_000, 6, 76_212),
            Seen(Arch::I386, 4096, 18_042_880, 3_664_444, 1_293_112, 12, 43_340),
            Seen(Arch::Ppc64le, 65536, 42_453_272, 6_000_048, 2_245_700, 12, 106_048),
            Seen(Arch::Ppc64le, 4096, 42_460_752, 6_000_048, 2_245_700, 12, 104_452),
            Seen(Arch::Ppc64, 65536, 10_273_840, 2_506_092, 0, 0, 68_096),
        ] {
            let measured = Measured {
                arch: Some(arch),
                page_size,
                image,
                modules,
                drivers,
                ..of_kernel(kernel)
            };
            let estimate = sum(&measured).total >> 10;
            assert!(estimate > in_use && estimate < in_use * 8 / 5, "{estimate}: {measured:?}");
        }
    }

    fn of_kernel(kernel: u64) -> Measured {
        Measured {
            arch: Some(Arch::X86_64),
            kernel,
            image: 5 << 20,
            modules: 3 << 20,
            drivers: 8,
            cpus: 1,
            threads: 1,
            page_size: 4096,
        }
    }

    #[test]
    fn more_of_anything_needs_more() {
        let estimate = sum(&of_kernel(54 << 20));
        let sum_of_parts: u64 = estimate.parts.iter().map(|part| part.bytes).sum();
        assert!(estimate.total >= sum_of_parts && estimate.total - sum_of_parts < UNIT);
        assert!(sum(&of_kernel(64 << 20)).total > estimate.total);
        let large = Measured { cpus: 64, threads: 64, ..of_kernel(54 << 20) };
        assert!(sum(&large).total > 300 << 20);
        let absurd = Measured { kernel: u64::MAX, drivers: u64::MAX, ..of_kernel(0) };
        assert!(sum(&absurd).total > 1 << 60);
    }

    #[test]
    fn the_writer_gets_more_than_a_dump_of_a_tebibyte_took() {
        // docs/performance.md. One thread hands on what it makes at once.
        assert!(writer(1) > 5_800_000 && writer(1) < 16 << 20);
        assert!(writer(4) > 25_900_000);
    }

    #[test]
    fn a_file_that_is_no_kernel_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no kernel, but long enough to be one").unwrap();
        let error = kernel_size(file.path()).unwrap_err();
        assert!(error.to_string().contains("is no kernel"), "{error}");
        assert!(matches!(kernel_size(Path::new("/nonexistent")), Err(Error::File(_))));
    }
}
