//! Segments by what they hold, whoever loaded them.

use std::collections::BTreeMap;

use super::Difference;
use crate::layout::{Layout, Segment};

/// A segment and its bytes.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it holds.
    pub what: &'static str,
    /// Where it is, and how large.
    pub segment: Segment,
    /// What was loaded.
    pub bytes: Vec<u8>,
}

/// What one program has loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The segments.
    pub parts: Vec<Part>,
}

impl Loaded {
    /// Names the segments of `layout` by their bytes `memory`. `kernel` and `initrd` are the files.
    pub fn new(layout: &Layout, memory: Vec<Vec<u8>>, kernel: &[u8], initrd: &[u8]) -> Self {
        let parts = layout.segments.iter().zip(memory).map(|(segment, bytes)| {
            let what = what(segment, &bytes, layout.entry, protected_mode_code(kernel), initrd);
            Part { what, segment: segment.clone(), bytes }
        });
        let mut loaded = Self { parts: parts.collect() };
        if let Some(setup_data) = loaded.setup_data() {
            for part in &mut loaded.parts {
                if part.what == UNNAMED && part.segment.address == setup_data {
                    part.what = "setup_data";
                }
            }
        }
        loaded
    }

    /// Where boot_params say that the list of setup_data begins (`hdr.setup_data`).
    fn setup_data(&self) -> Option<u64> {
        let boot_params = self.part("boot_params")?;
        boot_params.bytes.get(0x250..)?.first_chunk().copied().map(u64::from_le_bytes)
    }

    /// The first segment that holds `what`.
    pub fn part(&self, what: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.what == what)
    }

    /// What was loaded at physical `address` and behind it.
    pub fn at(&self, address: u64) -> Option<&[u8]> {
        self.parts.iter().find_map(|part| {
            let offset = address.checked_sub(part.segment.address)?;
            part.bytes.get(usize::try_from(offset).ok()?..).filter(|bytes| !bytes.is_empty())
        })
    }
}

/// What is in a segment that no name fits.
const UNNAMED: &str = "unnamed";

/// What a bzImage has behind its real-mode code (kernel 6.1 Documentation/x86/boot.rst,
/// `setup_sects`).
fn protected_mode_code(kernel: &[u8]) -> &[u8] {
    let setup_sectors = kernel.get(0x1f1).copied().unwrap_or_default();
    kernel.get((usize::from(setup_sectors) + 1) * 512..).unwrap_or_default()
}

fn what(segment: &Segment, bytes: &[u8], entry: u64, kernel: &[u8], initrd: &[u8]) -> &'static str {
    const ET_CORE: [u8; 2] = [4, 0];
    let has = |offset: usize, wanted: &[u8]| {
        bytes.get(offset..).is_some_and(|bytes| bytes.starts_with(wanted))
    };
    let end = segment.address.saturating_add(segment.memsz);
    if (segment.address..end).contains(&entry) {
        "purgatory"
    } else if !bytes.is_empty() && initrd.starts_with(bytes) {
        "initrd"
    } else if !bytes.is_empty() && kernel.starts_with(bytes) {
        "kernel"
    } else if has(0, b"\x7fELF") && has(16, &ET_CORE) {
        "elfcorehdr"
    } else if has(0x202, b"HdrS") {
        "boot_params"
    } else if has(0, b"console=") {
        "command line"
    } else if bytes.iter().all(|byte| *byte == 0) {
        "backup"
    } else {
        UNNAMED
    }
}

/// Which segments there are, and their sizes; addresses are each program's own business.
pub fn compare(peers: &Loaded, ours: &Loaded) -> Vec<Difference> {
    let sizes = |loaded: &Loaded| {
        let parts = loaded.parts.iter();
        let sizes = parts.map(|part| (part.what, (part.segment.bufsz, part.segment.memsz)));
        sizes.collect::<BTreeMap<_, _>>()
    };
    let (peers, ours) = (sizes(peers), sizes(ours));
    let names: Vec<_> = peers.keys().chain(ours.keys()).collect();
    let differ = names.into_iter().filter(|name| peers.get(*name) != ours.get(*name));
    differ
        .map(|name| {
            let how = format!("{:x?} and {:x?} (bufsz, memsz)", peers.get(name), ours.get(name));
            (format!("segment {name}"), how)
        })
        .collect()
}
