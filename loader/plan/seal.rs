//! The last step: digests of the segments, and purgatory with its parameters.

use alloc::{borrow::Cow, vec::Vec};

use purgatory::params::{
    Backup, Firmware, Flags, Handoff, Params, REGIONS_MAX, Region, Span, ZERO_MAX,
};

use crate::plan::digest::{Quarters, digest, digest_all};
use crate::plan::elf::KERNEL_SEGMENTS_MAX;
use crate::plan::layout::Layout;
use crate::plan::{Options, PlanError, Segment, What};
use crate::range::PhysRange;

// The kernel, initrd, boot_params or device tree, command line, elfcorehdr, and purgatory's code.
const _: () = assert!(KERNEL_SEGMENTS_MAX + 5 <= REGIONS_MAX);
const _: () = assert!(KERNEL_SEGMENTS_MAX <= ZERO_MAX);

/// What purgatory does at the end.
#[derive(Clone, Debug)]
pub struct Task {
    /// The jump.
    pub handoff: Handoff,
    /// What is copied first.
    pub backup: Option<Backup>,
    /// What is cleared.
    pub zero: Vec<Span>,
    /// What purgatory calls.
    pub firmware: Firmware,
    /// ppc64: the new kernel's first bytes. The running kernel copies purgatory's first ones to
    /// address 0 for secondary CPUs to wait in, and they shall wait in the new kernel's code.
    pub trampoline: Option<[u8; 0x100]>,
}

/// Digests what was placed and puts purgatory at `at`. Returns the address of its entry.
pub fn seal(
    layout: &mut Layout<'_>,
    options: &Options,
    purgatory: &linker::Image<'_>,
    at: PhysRange,
    task: &Task,
) -> Result<u64, PlanError> {
    let mut placed = purgatory.place(at.start)?;
    if let Some(trampoline) = &task.trampoline {
        // But for the first word, the branch to purgatory's own code.
        placed.overwrite(4, &trampoline[4..])?;
    }
    let mut params = Params {
        on_mismatch: options.on_mismatch as u32,
        console: options.console,
        handoff: task.handoff,
        firmware: task.firmware,
        ..Params::EMPTY
    };
    let mut flags = Flags::empty();
    if let Some(backup) = task.backup {
        flags |= Flags::BACKUP;
        params.backup = backup;
    }
    params.zero_count = fill(&mut params.zero, task.zero.iter().copied());
    if options.verify {
        flags |= Flags::VERIFY;
        digest_segments(&mut layout.segments, options);
        let segments = layout.segments.iter().filter_map(|segment| {
            let digest = segment.digest?;
            Some(region(segment.what, segment.address, &segment.data, digest))
        });
        let (address, code) = placed.code();
        let purgatory = region(What::Purgatory, address, code, digest(code));
        params.region_count = fill(&mut params.regions, segments.chain([purgatory]));
    }
    params.flags = flags.bits();
    let entry = placed.entry();
    layout.put(What::Purgatory, Cow::Owned(placed.fill(&params)), at);
    Ok(entry)
}

/// Digests what nobody changes between the load and the handoff.
fn digest_segments(segments: &mut [Segment<'_>], options: &Options) {
    let verified = |segment: &Segment<'_>| match segment.what {
        What::Kernel
        | What::Initrd
        | What::Modules
        | What::BootInformation
        | What::BootParams
        | What::CommandLine => true,
        // The running kernel rewrites them when a CPU or memory comes or goes.
        What::Elfcorehdr | What::Dtb => !options.hotplug,
        // Purgatory writes to both.
        What::Purgatory | What::Backup => false,
    };
    let mut verified: Vec<_> = segments
        .iter_mut()
        .filter(|segment| verified(segment) && !segment.data.is_empty())
        .collect();
    let contents: Vec<&[u8]> = verified.iter().map(|segment| &*segment.data).collect();
    let digests = digest_all(&contents);
    for (segment, digest) in verified.iter_mut().zip(digests) {
        segment.digest = Some(digest);
    }
}

fn region(what: What, address: u64, bytes: &[u8], digest: Quarters) -> Region {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(what.name().bytes()) {
        *to = from;
    }
    Region { address, length: bytes.len() as u64, digest, name }
}

/// Puts items into the array's first places and counts them; the assertions above say that
/// there are enough places.
fn fill<T>(places: &mut [T], items: impl Iterator<Item = T>) -> u32 {
    let mut count = 0;
    for (place, item) in places.iter_mut().zip(items) {
        *place = item;
        count += 1;
    }
    count
}
