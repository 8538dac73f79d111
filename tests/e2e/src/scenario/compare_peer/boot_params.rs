//! boot_params, and what its pointers lead to (kernel 6.1 Documentation/x86/zero-page.rst and
//! boot.rst).

use std::ops::Range;

use super::Difference;
use super::segments::{Loaded, Part};

const SIZE: usize = 4096;

/// Every field; a byte in none of them has no meaning.
#[rustfmt::skip] // one line for each kind of field
const FIELDS: &[(Range<usize>, &str)] = &[
    (0x000..0x002, "screen_info"), (0x002..0x004, "ext_mem_k"), (0x004..0x020, "screen_info"),
    (0x020..0x024, "cl_magic"), (0x024..0x040, "screen_info"), (0x040..0x054, "apm_bios_info"),
    (0x058..0x060, "tboot_addr"), (0x060..0x070, "ist_info"), (0x070..0x078, "acpi_rsdp_addr"),
    (0x080..0x090, "hd0_info"), (0x090..0x0a0, "hd1_info"), (0x0a0..0x0b0, "sys_desc_table"),
    (0x0b0..0x0c0, "olpc_ofw_header"), (0x140..0x1c0, "edid_info"), (0x1c0..0x1e0, "efi_info"),
    (0x1e0..0x1e4, "alt_mem_k"), (0x1e4..0x1e8, "scratch"), (0x1e9..0x1eb, "edd"),
    (0x1eb..0x1ec, "kbd_status"), (0x1ec..0x1ed, "secure_boot"), (0x1ef..0x1f0, "sentinel"),
    (0x1f1..0x1f2, "setup_sects"), (0x1f2..0x1f4, "root_flags"), (0x1f4..0x1f8, "syssize"),
    (0x1f8..0x1fa, "ram_size"), (0x1fa..0x1fc, "vid_mode"), (0x1fc..0x1fe, "root_dev"),
    (0x1fe..0x200, "boot_flag"), (0x200..0x202, "jump"), (0x202..0x206, "header"),
    (0x206..0x208, "version"), (0x208..0x20c, "realmode_swtch"), (0x20c..0x20e, "start_sys_seg"),
    (0x20e..0x210, "kernel_version"), (0x210..0x211, "type_of_loader"), (0x211..0x212, "loadflags"),
    (0x212..0x214, "setup_move_size"), (0x214..0x218, "code32_start"), (0x21c..0x220, "ramdisk_size"),
    (0x220..0x224, "bootsect_kludge"), (0x224..0x226, "heap_end_ptr"), (0x226..0x227, "ext_loader_ver"),
    (0x227..0x228, "ext_loader_type"), (0x22c..0x230, "initrd_addr_max"),
    (0x230..0x234, "kernel_alignment"), (0x234..0x235, "relocatable_kernel"),
    (0x235..0x236, "min_alignment"), (0x236..0x238, "xloadflags"), (0x238..0x23c, "cmdline_size"),
    (0x23c..0x240, "hardware_subarch"), (0x240..0x248, "hardware_subarch_data"),
    (0x248..0x24c, "payload_offset"), (0x24c..0x250, "payload_length"), (0x258..0x260, "pref_address"),
    (0x260..0x264, "init_size"), (0x264..0x268, "handover_offset"), (0x268..0x26c, "kernel_info_offset"),
    (0x290..0x2d0, "edd"), (0xd00..0xeec, "edd"),
];
/// Compared by what they lead to: pointers and their upper halves, and the memory map.
const FOLLOWED: &[Range<usize>] =
    &[0x0c0..0x0cc, 0x1e8..0x1e9, 0x218..0x21c, 0x228..0x22c, 0x250..0x258, 0x2d0..0xcd0];

/// RAM of the memory map.
const RAM: u32 = 1;

/// boot_params among what was loaded with it.
#[derive(Clone, Copy, Debug)]
pub struct BootParams<'l> {
    bytes: &'l [u8; SIZE],
    loaded: &'l Loaded,
}

impl<'l> BootParams<'l> {
    /// Those of `loaded`.
    pub fn of(loaded: &'l Loaded) -> Option<Self> {
        Some(Self { bytes: loaded.part("boot_params")?.bytes.first_chunk()?, loaded })
    }

    fn number(&self, offset: usize) -> u64 {
        self.bytes[offset..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes).into())
    }

    fn split(&self, low: usize, high: usize) -> u64 {
        self.number(low) | self.number(high) << 32
    }

    /// The command line.
    fn command_line(&self) -> String {
        let bytes = self.loaded.at(self.split(0x228, 0x0c8)).unwrap_or_default();
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// The command line without `elfcorehdr=`, and whether that leads to the core headers.
    fn words(&self) -> (Vec<String>, bool) {
        let headers = self.loaded.part("elfcorehdr").map(|part| part.segment.address);
        let right = headers.map(|address| format!("elfcorehdr={}K", address >> 10));
        let line = self.command_line();
        let (found, words): (Vec<_>, Vec<_>) =
            line.split_whitespace().map(str::to_owned).partition(|w| w.starts_with("elfcorehdr="));
        (words, found.first() == right.as_ref() && found.len() == 1)
    }

    /// Whether the initrd is where the pointer leads.
    fn has_initrd(&self) -> bool {
        let initrd = self.loaded.part("initrd").map(|part| part.segment.address);
        initrd == Some(self.split(0x218, 0x0c0))
    }

    /// Kind and payload of each setup_data, the random seed's without its bytes.
    fn setup_data(&self) -> Vec<(u64, Vec<u8>)> {
        /// A list that does not end is no list.
        const MOST: usize = 64;
        const RNG_SEED: u64 = 9;
        let mut list = Vec::new();
        let mut next = self.split(0x250, 0x254);
        while let (true, Some(bytes)) = (next != 0 && list.len() < MOST, self.loaded.at(next)) {
            let number = |offset: usize| {
                let bytes = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
                bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
            };
            let (kind, length) = (number(8), usize::try_from(number(12)).unwrap_or_default());
            let payload = bytes.get(16..).and_then(|bytes| bytes.get(..length)).unwrap_or_default();
            let payload = if kind == RNG_SEED { vec![0; payload.len()] } else { payload.to_vec() };
            list.push((kind, payload));
            next = number(0) | number(4) << 32;
        }
        list
    }

    fn memory_map(&self) -> Vec<(Range<u64>, u32)> {
        let entries = self.bytes[0x2d0..0xcd0].as_chunks::<20>().0;
        let entries = entries.iter().take(usize::from(self.bytes[0x1e8]));
        entries
            .filter_map(|entry| {
                let start = u64::from_le_bytes(*entry.first_chunk()?);
                let length = u64::from_le_bytes(*entry[8..].first_chunk()?);
                let kind = u32::from_le_bytes(*entry[16..].first_chunk()?);
                Some((start..start.saturating_add(length), kind))
            })
            .collect()
    }

    /// What the capture kernel may use or has to keep, in whole pages: RAM, core headers, backup.
    fn memory(&self) -> Vec<Range<u64>> {
        const PAGE: u64 = 4096;
        let kept = ["elfcorehdr", "backup"].map(|what| self.loaded.part(what));
        let kept = kept.into_iter().flatten().map(range_of);
        let map = self.memory_map();
        let ram = map.into_iter().filter(|(_, kind)| *kind == RAM).map(|(range, _)| range);
        let pages = ram
            .chain(kept)
            .map(|range| range.start.next_multiple_of(PAGE)..range.end & !(PAGE - 1));
        let mut pages: Vec<_> = pages.filter(|range| !range.is_empty()).collect();
        pages.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in pages {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                Some(_) | None => joined.push(range),
            }
        }
        joined
    }

    /// The firmware's ranges: all that is neither RAM nor the core headers or the backup.
    fn firmwares(&self) -> Vec<(Range<u64>, u32)> {
        let kept: Vec<_> =
            ["elfcorehdr", "backup"].iter().filter_map(|what| self.loaded.part(what)).collect();
        let is_kept = |range: &Range<u64>| {
            kept.iter().any(|part| {
                range_of(part).start <= range.start
                    && range.end <= range_of(part).end.next_multiple_of(4096)
            })
        };
        let mut map = self.memory_map();
        map.retain(|(range, kind)| *kind != RAM && !is_kept(range));
        map.sort_by_key(|(range, _)| range.start);
        map
    }
}

fn range_of(part: &Part) -> Range<u64> {
    part.segment.address..part.segment.address + part.segment.memsz
}

/// Field by field, and what pointers lead to.
pub fn compare(peers: &BootParams<'_>, ours: &BootParams<'_>) -> Vec<Difference> {
    let mut differences: Vec<Difference> = (0..SIZE)
        .filter(|&at| peers.bytes[at] != ours.bytes[at])
        .filter(|at| !FOLLOWED.iter().any(|range| range.contains(at)))
        .map(|at| {
            let field = FIELDS.iter().find(|(range, _)| range.contains(&at));
            let (range, name) = field.cloned().unwrap_or((at..at + 1, "no field"));
            let how = format!(
                "{:02x?} and {:02x?} at {:#x}",
                &peers.bytes[range.clone()],
                &ours.bytes[range.clone()],
                range.start
            );
            (format!("boot_params.{name}"), how)
        })
        .collect();
    let mut differ = |name: &str, peers: String, ours: String| {
        if peers != ours {
            differences.push((name.to_owned(), format!("{peers} and {ours}")));
        }
    };
    let both = |show: &dyn Fn(&BootParams<'_>) -> String| (show(peers), show(ours));
    let shown: [(&str, (String, String)); 5] = [
        ("command line", both(&|params| format!("{:?}", params.words()))),
        ("initrd's address", both(&|params| params.has_initrd().to_string())),
        ("setup_data", both(&|params| format!("{:x?}", params.setup_data()))),
        ("e820: memory", both(&|params| format!("{:x?}", params.memory()))),
        ("e820: firmware's ranges", both(&|params| format!("{:x?}", params.firmwares()))),
    ];
    for (name, (peers, ours)) in shown {
        differ(name, peers, ours);
    }
    // That both are wrong is no reason to be content.
    let right = ours.has_initrd() && ours.words().1;
    differ("pointers to initrd and core headers", true.to_string(), right.to_string());
    differences
}
