//! Segments by what they hold, whoever loaded them.

use std::collections::BTreeSet;

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
            let what = what(segment, &bytes, layout.entry, kernel, initrd);
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

/// Whether `bytes` are what a bzImage has behind its real-mode code, with a signature that may follow
/// or without (kernel 6.1 Documentation/x86/boot.rst, `setup_sects` and `syssize`).
fn is_protected_mode_code(bytes: &[u8], kernel: &[u8]) -> bool {
    let setup_sectors = kernel.get(0x1f1).copied().unwrap_or_default();
    let code = kernel.get((usize::from(setup_sectors) + 1) * 512..).unwrap_or_default();
    let paragraphs = kernel.get(0x1f4..).and_then(|bytes| bytes.first_chunk());
    let size = paragraphs.map_or(0, |size| u64::from(u32::from_le_bytes(*size)) * 16);
    size > 0 && bytes.len() as u64 >= size && code.starts_with(bytes)
}

fn what(segment: &Segment, bytes: &[u8], entry: u64, kernel: &[u8], initrd: &[u8]) -> &'static str {
    const ET_CORE: [u8; 2] = [4, 0];
    let has = |offset: usize, wanted: &[u8]| {
        bytes.get(offset..).is_some_and(|bytes| bytes.starts_with(wanted))
    };
    let end = segment.address.saturating_add(segment.memsz);
    if (segment.address..end).contains(&entry) {
        "purgatory"
    } else if !bytes.is_empty() && initrd == bytes {
        "initrd"
    } else if is_protected_mode_code(bytes, kernel) {
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

/// Which segments there are, their sizes, and how much of each was loaded; addresses are each
/// program's own business.
pub fn compare(peers: &Loaded, ours: &Loaded) -> Vec<Difference> {
    let names: BTreeSet<_> = peers.parts.iter().chain(&ours.parts).map(|part| part.what).collect();
    let mut differences = Vec::new();
    for name in names {
        // There may be several of a name.
        let of = |loaded: &Loaded, size: fn(&Segment) -> u64| {
            let parts = loaded.parts.iter().filter(|part| part.what == name);
            parts.map(|part| size(&part.segment)).collect::<Vec<_>>()
        };
        let in_memory = [peers, ours].map(|loaded| of(loaded, |segment| segment.memsz));
        let in_file = [peers, ours].map(|loaded| of(loaded, |segment| segment.bufsz));
        if in_memory[0] != in_memory[1] {
            let how = format!("{:x?} and {:x?}", in_memory[0], in_memory[1]);
            differences.push((format!("segment {name}"), how));
        } else if in_file[0] != in_file[1] {
            let how = format!("{:x?} and {:x?}", in_file[0], in_file[1]);
            differences.push((format!("segment {name}: loaded bytes"), how));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage with two paragraphs behind its real-mode code, and a signature.
    fn kernel() -> Vec<u8> {
        let mut kernel = vec![0; 0x400];
        kernel[0x1f1] = 1;
        kernel[0x1f4] = 2;
        kernel.extend([7; 32 + 8]);
        kernel
    }

    fn part(what: &'static str, size: u64) -> Part {
        let segment = Segment { what: what.into(), address: 0, bufsz: size, memsz: size };
        Part { what, segment, bytes: Vec::new() }
    }

    #[test]
    fn a_kernel_that_was_cut_off_is_none() {
        let segment = Segment { what: String::new(), address: 0x1000, bufsz: 32, memsz: 32 };
        let name = |bytes: &[u8]| what(&segment, bytes, 0, &kernel(), b"initrd");
        assert_eq!(name(&[7; 32]), "kernel");
        assert_eq!(name(&[7; 40]), "kernel", "with its signature");
        assert_eq!(name(&[7; 16]), UNNAMED);
        assert_eq!(name(b"initrd"), "initrd");
        assert_eq!(name(b"init"), UNNAMED);
    }

    #[test]
    fn a_second_segment_of_a_name_is_a_difference() {
        let one = Loaded { parts: vec![part(UNNAMED, 1)] };
        let two = Loaded { parts: vec![part(UNNAMED, 1), part(UNNAMED, 1)] };
        assert!(compare(&one, &one).is_empty());
        assert_eq!(compare(&one, &two).len(), 1);
    }
}
