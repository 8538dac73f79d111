//! Compares which pages of a core are left out here and by makedumpfile:
//!
//! ```text
//! makedumpfile -l -d 31 vmcore filtered
//! cargo run --release -p capture --example compare-filter -- vmcore 31 filtered
//! ```
//!
//! The filtered file is only asked for its second bitmap, which tells the pages that it has. It
//! has pages of zeros, too: they share one page of data. Ends with status 1 if there is a
//! difference. Without a third argument it only counts the pages of each kind.
//!
//! The free pages are also counted as the dead kernel itself counts them: by the lengths of its
//! lists of free blocks.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use capture::address::{KernelMemory, Virtual};
use capture::filter::{Level, PageFilter, PageKind};
use capture::vmcore::{Headers, Vmcore};
use object::Endian;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (core, level, theirs) = match &arguments[..] {
        [core, level] => (core, level, None),
        [core, level, theirs] => (core, level, Some(Path::new(theirs))),
        _ => return Err("usage: compare-filter CORE LEVEL [FILTERED]".into()),
    };
    let core = Vmcore::open(Path::new(core))?;
    let theirs = theirs.map(|path| Bitmap::read(path, core.headers())).transpose()?;
    let level: Level = level.parse()?;
    let begun = Instant::now();
    let filter = PageFilter::new(&core, level);
    let kinds = kinds(&core, &filter)?;
    println!("{} pages classified in {:?}", kinds.len(), begun.elapsed());
    for note in filter.notes() {
        println!("note: {note}");
    }
    let mut counts = BTreeMap::new();
    let mut differences: Vec<Difference> = Vec::new();
    for (pfn, kind) in kinds {
        let ours = name(kind);
        *counts.entry(ours).or_insert(0u64) += 1;
        let Some(theirs) = theirs.as_ref().map(|theirs| theirs.has(pfn)) else { continue };
        if theirs == (ours == "kept") {
            continue;
        }
        match differences.last_mut() {
            Some(last) if (last.theirs, last.ours) == (theirs, ours) && last.end == pfn => {
                last.end += 1;
            }
            _ => differences.push(Difference { start: pfn, end: pfn + 1, theirs, ours }),
        }
    }
    for (kind, count) in &counts {
        println!("{kind:>15} {count}");
    }
    let pages: u64 = differences.iter().map(|range| range.end - range.start).sum();
    let free = counts.get(name(PageKind::Free)).copied().unwrap_or(0);
    println!("{:>15} {} by the zones' lists", "free", free_by_zones(&core)?);
    println!("{pages} pages differ");
    for Difference { start, end, theirs, ours } in &differences {
        let theirs = if *theirs { "kept" } else { "left out" };
        println!("pfn {start:#x}..{end:#x}: {theirs} by makedumpfile, here {ours}");
    }
    let same_free = free_by_zones(&core)? == free || !level.contains(Level::FREE);
    let same = differences.is_empty() && same_free;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Difference {
    start: u64,
    end: u64,
    theirs: bool,
    ours: &'static str,
}

/// The kind of every page of the core.
fn kinds(
    core: &Vmcore,
    filter: &PageFilter<'_>,
) -> Result<BTreeMap<u64, PageKind>, Box<dyn Error>> {
    let window = filter.alignment().max(1 << 15);
    let mut kinds = vec![PageKind::Keep; usize::try_from(window)?];
    let mut all = BTreeMap::new();
    for pages in core.headers().ram() {
        let mut start = pages.start / window * window;
        while start < pages.end {
            filter.classify(start, &mut kinds);
            all.extend((start..).zip(kinds.clone()).filter(|(pfn, _)| pages.contains(pfn)));
            start += window;
        }
    }
    Ok(all)
}

fn name(kind: PageKind) -> &'static str {
    match kind {
        PageKind::Keep => "kept",
        PageKind::Cache => "cache",
        PageKind::CachePrivate => "private cache",
        PageKind::User => "user",
        PageKind::Free => "free",
        PageKind::HwPoison => "hwpoison",
        PageKind::Offline => "offline",
    }
}

/// The pages in all free blocks by the zones' counters, `zone.free_area[order].nr_free`
/// (include/linux/mmzone.h, Linux 4.19 to 6.16). `nr_free` stands behind the lists.
fn free_by_zones(core: &Vmcore) -> Result<u64, Box<dyn Error>> {
    let mut memory = KernelMemory::new(core)?;
    let info = &core.headers().info;
    let long = if core.headers().is_64 { 8 } else { 4 };
    let nr_free = info.size("list_head")? * info.length("free_area.free_list")?;
    let mut nodes = Vec::new();
    if info.has_symbol("contig_page_data") {
        nodes.push(info.symbol("contig_page_data")?.0);
    } else {
        for number in 0..info.length("node_data")? {
            let pointer = info.symbol("node_data")?.plus(number * long)?;
            nodes.push(memory.read_long(pointer)?);
        }
    }
    let mut pages = 0;
    for node in nodes.into_iter().filter(|node| *node != 0).map(Virtual) {
        let zones = memory.read_u32(node.plus(info.offset("pglist_data.nr_zones")?)?)?;
        for zone in 0..u64::from(zones) {
            let zone = info.offset("pglist_data.node_zones")? + zone * info.size("zone")?;
            let areas = node.plus(zone + info.offset("zone.free_area")?)?;
            for order in 0..info.length("zone.free_area")? {
                let area = areas.plus(order * info.size("free_area")? + nr_free)?;
                pages += memory.read_long(area)? << order;
            }
        }
    }
    Ok(pages)
}

/// The second bitmap of a kdump-compressed file (makedumpfile's IMPLEMENTATION,
/// "kdump-compressed format").
struct Bitmap(Vec<u8>);

impl Bitmap {
    /// That of the file at `path`, which was made from a core with these headers.
    fn read(path: &Path, headers: &Headers) -> Result<Self, Box<dyn Error>> {
        let file = File::open(path)?;
        let mut header = [0; 464];
        file.read_exact_at(&mut header, 0)?;
        if &header[..8] != b"KDUMP   " {
            return Err(format!("{} is no kdump-compressed file", path.display()).into());
        }
        let number = |at: usize| -> Result<u64, Box<dyn Error>> {
            Ok(headers.endianness.read_u32(header[at..at + 4].try_into()?).into())
        };
        // Behind a timeval, whose size and alignment depend on the machine.
        let start = if headers.is_64 { 428 } else { 416 };
        let (block, sub_header, bitmaps) = (number(start)?, number(start + 4)?, number(start + 8)?);
        let mut bits = vec![0; usize::try_from(bitmaps * block / 2)?];
        file.read_exact_at(&mut bits, (1 + sub_header) * block + bitmaps * block / 2)?;
        Ok(Self(bits))
    }

    fn has(&self, pfn: u64) -> bool {
        let byte = usize::try_from(pfn / 8).ok().and_then(|byte| self.0.get(byte));
        byte.is_some_and(|byte| byte & (1 << (pfn % 8)) != 0)
    }
}
