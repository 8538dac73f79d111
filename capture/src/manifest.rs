//! `manifest.json`: what was saved, from which kernel, and how it can be checked.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::dump::{Counts, Options, Saved};
use crate::timeline::Timeline;
use crate::vmcore::VmcoreInfo;

/// Version of the format that is written.
pub const VERSION: u32 = 2;

/// Name of the manifest beside the dump.
pub const MANIFEST: &str = "manifest.json";
/// Name of the manifest while it is written.
pub const MANIFEST_NEW: &str = "manifest.json.new";
/// Name of the dump.
pub const VMCORE: &str = "vmcore";
/// Name of a dump that came as a stream: `makedumpfile -R` makes a dump of it.
pub const FLATTENED: &str = "vmcore.flat";
/// Name of the dump until it is on the disk and read back.
pub const INCOMPLETE: &str = "vmcore-incomplete";
/// Name of such a stream until the host has all of it.
pub const FLATTENED_INCOMPLETE: &str = "vmcore-incomplete.flat";
/// Name of the dead kernel's log.
pub const DMESG: &str = "vmcore-dmesg.txt";

/// The content of `manifest.json`.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// Whether the dump is complete; until it is, the manifest only marks the directory.
    pub complete: bool,
    /// Why it is not, if the capture got so far as to say it.
    pub failure: Option<String>,
    /// The kernel that died.
    pub kernel: Kernel,
    /// When it died, UTC, if it said so.
    pub crash_time: Option<String>,
    /// When the capture began with this target, UTC.
    pub started: String,
    /// When the dump had its final name, UTC.
    pub finished: Option<String>,
    /// What happened when.
    pub timeline: Timeline,
    /// What loaded the capture kernel, as `kexec --version` calls it; absent if it did not say so.
    /// Purgatory is linked into that program: the version is that of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// What saved it.
    pub capture: &'static str,
    /// Where it was saved, as configured.
    pub target: String,
    /// The memory; absent until it is saved.
    pub vmcore: Option<Dump>,
    /// The log; absent if it could not be read.
    pub dmesg: Option<Log>,
}

impl Manifest {
    /// The manifest of a capture that begins now with the dead kernel's `info`.
    pub fn new(
        info: &VmcoreInfo,
        loader: Option<String>,
        target: String,
        timeline: Timeline,
    ) -> Self {
        Self {
            version: VERSION,
            complete: false,
            failure: None,
            kernel: Kernel::of(info),
            crash_time: crash_time(info).map(timestamp),
            started: timestamp(SystemTime::now()),
            finished: None,
            timeline,
            loader,
            capture: CAPTURE,
            target,
            vmcore: None,
            dmesg: None,
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// This program.
pub const CAPTURE: &str = concat!("kdump-capture ", env!("CARGO_PKG_VERSION"));

/// What of a manifest marks a directory as that of a capture.
#[derive(Debug, Deserialize)]
pub struct Mark {
    /// What saved it.
    capture: String,
    /// Whether the dump is complete.
    #[serde(default)]
    pub complete: bool,
    /// When it began; these texts sort as the times do.
    pub started: String,
}

impl Mark {
    /// From the text of a manifest; `None` if it is not one of this program.
    pub fn read(text: &[u8]) -> Option<Self> {
        let mark: Self = serde_json::from_slice(text).ok()?;
        mark.capture.starts_with("kdump-capture ").then_some(mark)
    }
}

/// What the dead kernel said about itself.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// Its release, as `uname -r`.
    pub release: Option<String>,
    /// Its build id, hexadecimal.
    pub build_id: Option<String>,
}

impl Kernel {
    /// From the dead kernel's VMCOREINFO.
    pub fn of(info: &VmcoreInfo) -> Self {
        let text = |key| info.text(key).map(str::to_owned);
        Self { release: text("OSRELEASE"), build_id: text("BUILD-ID") }
    }
}

/// The saved memory.
#[derive(Debug, Serialize)]
pub struct Dump {
    /// File name beside the manifest.
    pub file: &'static str,
    /// `kdump` or `elf`.
    pub format: String,
    /// How the pages of the format `kdump` are compressed.
    pub compression: String,
    /// Which pages are left out: makedumpfile's number.
    pub level: u8,
    /// What became of the dead kernel's pages.
    pub pages: Counts,
    /// What is kept that the level would leave out, and why.
    pub notes: Vec<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

impl Dump {
    /// A dump called `file`, with the SHA-256 that it has on the target.
    pub fn new(file: &'static str, options: &Options, saved: &Saved, sha256: [u8; 32]) -> Self {
        Self {
            file,
            format: options.format.to_string(),
            compression: options.compression.to_string(),
            level: options.level.number(),
            pages: saved.pages,
            notes: saved.notes.clone(),
            bytes: saved.bytes,
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// The saved log.
#[derive(Debug, Serialize)]
pub struct Log {
    /// File name beside the manifest.
    pub file: &'static str,
    /// Number of records.
    pub records: u64,
}

/// When the dead kernel died: its `CRASHTIME`, in seconds since 1970.
pub fn crash_time(info: &VmcoreInfo) -> Option<SystemTime> {
    let seconds = info.text("CRASHTIME")?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// `YYYY-MM-DDTHH:MM:SSZ`.
pub fn timestamp(time: SystemTime) -> String {
    let (date, clock) = calendar(time);
    let ((year, month, day), (hour, minute, second)) = (date, clock);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `YYYY-MM-DD-HHMMSS`, the name of a dump's directory.
pub fn directory_name(time: SystemTime) -> String {
    let ((year, month, day), (hour, minute, second)) = calendar(time);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}")
}

fn calendar(time: SystemTime) -> ((i32, u8, u8), (u8, u8, u8)) {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    ((date.year(), date.month().into(), date.day()), (date.hour(), date.minute(), date.second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        let time = UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        assert_eq!(timestamp(time), "2024-02-29T12:34:56Z");
        assert_eq!(directory_name(time), "2024-02-29-123456");
        assert_eq!(directory_name(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01-000000");
    }

    #[test]
    fn the_time_of_the_crash_is_the_kernels() {
        let time = |text: &[u8]| crash_time(&VmcoreInfo::parse(text));
        assert_eq!(time(b"CRASHTIME=5\n"), Some(UNIX_EPOCH + Duration::from_secs(5)));
        assert_eq!(time(b"CRASHTIME=x\n"), None);
        assert_eq!(time(b""), None);
    }
}
