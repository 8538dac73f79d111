//! How large a dump of the running machine would be, from `/proc/meminfo`
//! (Documentation/filesystems/proc.rst, Linux 6.1).

use capture::config::{Compression, Config, Format, Level};

use crate::machine::{Machine, ReadError};

/// Pages of a kernel compress at least so well with any of the formats.
const COMPRESSED_TO: u64 = 2;

/// Bytes that a dump would have with `config`: the kept pages as they are, half of that if they
/// are compressed. It is a forecast; what it is when the machine crashes, the capture checks
/// before it writes. `None` if the kernel does not say what its memory is used for.
pub fn forecast(machine: &Machine, config: &Config) -> Result<Option<u64>, ReadError> {
    let text = machine.required_text("proc/meminfo")?;
    let Some(total) = value(&text, "MemTotal") else { return Ok(None) };
    let of = |names: &[&str]| names.iter().filter_map(|name| value(&text, name)).sum::<u64>();
    let mut dropped = 0u64;
    if config.level.contains(Level::CACHE) && config.level.contains(Level::CACHE_PRIVATE) {
        // Shmem is anonymous to the filter, but counted as cached.
        let cached = of(&["Cached", "Buffers", "SwapCached"]).saturating_sub(of(&["Shmem"]));
        dropped = dropped.saturating_add(cached);
    }
    if config.level.contains(Level::USER) {
        dropped = dropped.saturating_add(of(&["AnonPages", "Shmem", "Hugetlb"]));
    }
    if config.level.contains(Level::FREE) {
        dropped = dropped.saturating_add(of(&["MemFree"]));
    }
    let kept = total.saturating_sub(dropped);
    let compressed = config.format == Format::Kdump && config.compression != Compression::None;
    Ok(Some(if compressed { kept / COMPRESSED_TO } else { kept }))
}

/// The value of a line `NAME:   123 kB`, in bytes.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MEMINFO: &str = "MemTotal:  1000 kB\nMemFree: 400 kB\nBuffers: 10 kB\nCached: 200 kB\n\
        SwapCached: 0 kB\nAnonPages: 100 kB\nShmem: 50 kB\nHugePages_Total: 3\n";

    fn of(meminfo: &str, level: u8, compression: Compression) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        fs::write(dir.path().join("proc/meminfo"), meminfo).unwrap();
        let level = level.try_into().unwrap();
        let config = Config { format: Format::Kdump, level, compression, ..Config::default() };
        forecast(&Machine::at(dir.path()), &config).unwrap().map(|bytes| bytes / 1024)
    }

    #[test]
    fn what_is_dropped_is_not_counted() {
        assert_eq!(of(MEMINFO, 0, Compression::None), Some(1000));
        assert_eq!(of(MEMINFO, 16, Compression::None), Some(600));
        assert_eq!(of(MEMINFO, 31, Compression::None), Some(1000 - 400 - 160 - 150));
        assert_eq!(of(MEMINFO, 31, Compression::Zlib), Some(290 / 2));
        assert_eq!(of("MemFree: 4 kB\n", 31, Compression::Zlib), None);
        let nonsense = "MemTotal: 1 kB\nMemFree: 18014398509481983 kB\nCached: x kB\n";
        assert_eq!(of(nonsense, 31, Compression::None), Some(0));
    }
}
