//! How large a dump will be, before anything is written.

use super::selection::Selection;
use super::{Error, Format, Options, Progress, is_zero};
use crate::format::kdump::Descriptor;
use crate::format::page::Compressor;
use crate::vmcore::Vmcore;

/// Pages that are compressed to see how small they become.
const SAMPLES: u64 = 4096;

/// The size of a dump in bytes, the holes of an ELF file not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// By a sample of the pages, usually within a tenth.
    pub expected: u64,
    /// If no page could be compressed.
    pub at_most: u64,
}

/// Estimates the size of a dump, flattened or not. It costs about as much as the first look at the
/// memory in [`save`](super::save).
pub fn estimate_size(
    core: &Vmcore,
    options: &Options,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Estimate, Error> {
    let selection = Selection::new(core, options.level);
    let (planned, counts) = selection.count(options.threads, progress)?;
    let page_size = selection.page_size as u64;
    let every = counts.kept.div_ceil(SAMPLES).max(1);
    let mut compressor = match options.format {
        Format::Kdump => Some(Compressor::new(options.compression, selection.page_size)),
        Format::Elf => None,
    };
    let mut page = vec![0; selection.page_size];
    let (mut number, mut sampled, mut bytes) = (0u64, 0, 0);
    for (first, planned) in selection.windows().zip(planned) {
        // Windows without a page to sample are not looked at again.
        if (number..number + u64::from(planned)).any(|number| number.is_multiple_of(every)) {
            for run in selection.window(first)?.runs(usize::MAX) {
                for (number, pfn) in (number..).zip(run.clone()) {
                    if !number.is_multiple_of(every) {
                        continue;
                    }
                    core.read_pages(pfn, &mut page)?;
                    let compressed =
                        compressor.as_mut().map(|it| it.compress(&page).map(<[u8]>::len));
                    let size = compressed.flatten().unwrap_or(page.len());
                    sampled += 1;
                    bytes += if is_zero(&page) { 0 } else { size as u64 };
                }
                number += run.end - run.start;
            }
        } else {
            number += u64::from(planned);
        }
    }
    let around = around(&selection, counts.kept, options);
    let average =
        |pages: u64| u128::from(pages) * u128::from(bytes) / u128::from(sampled.max(1u64));
    let pages = u64::try_from(average(counts.kept)).unwrap_or(u64::MAX);
    Ok(Estimate {
        expected: around.saturating_add(pages),
        at_most: around.saturating_add(counts.kept.saturating_mul(page_size)),
    })
}

/// What there is besides pages.
fn around(selection: &Selection<'_>, kept: u64, options: &Options) -> u64 {
    let page_size = selection.page_size as u64;
    let notes = selection.core.headers().notes.len() as u64;
    let blocks = match options.format {
        Format::Kdump => {
            let bitmaps = 2 * selection.max_mapnr().div_ceil(8).next_multiple_of(page_size);
            bitmaps + kept * Descriptor::SIZE as u64
        }
        // Its headers are few.
        Format::Elf => page_size,
    };
    blocks + notes + 4 * page_size
}
