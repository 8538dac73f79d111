//! The new kernel's device tree: the running one's, or a given one, with what the new kernel is
//! to do in place of what the running one was told and found out.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::facts::ppc64::{lmb::Lmbs, memory_blocks};
use crate::facts::{Facts, Ppc64};
use crate::fdt::{DeviceTree, Node};
use crate::plan::capture::Capture;
use crate::plan::chosen::{self, Chosen};
use crate::plan::layout::{self, Layout};
use crate::plan::place::End;
use crate::plan::ppc64::{BACKUP, PAGE, memory};
use crate::plan::{PlanError, Request, Target, What};
use crate::range::{self, PhysRange};

/// What the running kernel wrote into `chosen` for kexec-tools, and what the new one would take
/// for its own: memory that it was limited to, page tables and buffers that are gone.
const STALE: [&str; 7] = [
    "linux,crashkernel-base",
    "linux,crashkernel-size",
    "linux,htab-base",
    "linux,htab-size",
    "linux,ima-kexec-buffer",
    "linux,kernel-end",
    "linux,memory-limit",
];

/// What the tree points to.
pub struct Contents<'c> {
    /// The command line.
    pub command_line: &'c str,
    /// Where the initrd is.
    pub initrd: Option<PhysRange>,
    /// What a capture kernel must keep.
    pub capture: Option<&'c Capture>,
}

/// Makes the tree and puts it into a segment.
pub fn place(
    layout: &mut Layout<'_>,
    request: &Request<'_>,
    facts: &Facts,
    machine: &Ppc64,
    contents: &Contents<'_>,
) -> Result<PhysRange, PlanError> {
    let mut tree = tree(request, facts, machine, contents)?;
    let room = if request.options.hotplug { hotplug_room(&tree.root, facts) } else { 0 };
    // The tree reserves its own memory: its size does not depend on where that is.
    tree.reservations.push(PhysRange::default());
    let size = tree.write(room)?.len() as u64;
    let at = layout.take(What::Dtb, size, PAGE, End::Top, &memory::WINDOWS)?;
    if let Some(own) = tree.reservations.last_mut() {
        *own = at;
    }
    layout.put(What::Dtb, Cow::Owned(tree.write(room)?), at);
    Ok(at)
}

fn tree(
    request: &Request<'_>,
    facts: &Facts,
    machine: &Ppc64,
    contents: &Contents<'_>,
) -> Result<DeviceTree, PlanError> {
    let mut tree = request.options.device_tree.as_ref().unwrap_or(&machine.tree).clone();
    tree.root.walk_mut(&mut |node| {
        // Domains are counted anew; the name is in the node itself.
        node.remove("linux,pci-domain");
        node.remove("name");
    });
    chosen::set(
        &mut tree,
        &Chosen {
            command_line: contents.command_line,
            initrd: contents.initrd,
            rng_seed: request.options.rng_seed,
        },
    );
    for property in STALE {
        tree.root.child_or_new("chosen").remove(property);
    }

    // A live tree has no reservations, one from a file may have some.
    tree.reservations.extend(firmware_pages(machine));
    tree.reservations.extend(&machine.reserved);
    tree.reservations.extend(contents.initrd);
    if let (Target::Crash, Some(capture)) = (request.target, contents.capture) {
        let reserved = layout::crash_memory(facts)?;
        limit_memory(&mut tree, machine, reserved)?;
        tree.reservations.push(PhysRange::new(BACKUP.end, reserved.start));
        tree.reservations.extend(capture.kept());
    }
    tree.reservations.retain(|range| !range.is_empty());
    Ok(tree)
}

/// A capture kernel sees memory from 0 to the end of its own, because early code expects the
/// memory at 0 to be there; what is the dead kernel's is reserved. And it sees what firmware
/// uses (kernel 6.1 arch/powerpc/kexec/file_load_64.c, `get_usable_memory_ranges`).
fn limit_memory(
    tree: &mut DeviceTree,
    machine: &Ppc64,
    reserved: PhysRange,
) -> Result<(), PlanError> {
    let mut usable = firmware_pages(machine);
    usable.push(PhysRange::new(0, reserved.end));
    tree.set_usable_memory(&usable)?;
    if let Some(lmbs) = Lmbs::read(tree)? {
        lmbs.set_usable(tree, &usable)?;
    }
    match range::subtract(&[reserved], &memory_blocks(tree)?).first() {
        Some(&missing) => Err(PlanError::NotInTree { missing }),
        None => Ok(()),
    }
}

/// Memory of the firmware, in whole pages: what is beside it in a page is the dead kernel's.
fn firmware_pages(machine: &Ppc64) -> Vec<PhysRange> {
    let pages = |range: &PhysRange| {
        let end = range.end.checked_next_multiple_of(PAGE).unwrap_or(range.end);
        PhysRange::new(range.start & !(PAGE - 1), end)
    };
    machine.firmware().iter().map(pages).collect()
}

/// Bytes for the nodes of all CPUs that there are or may come: on hotplug the running kernel removes
/// the CPUs' nodes in the loaded tree and adds them again from its own tree, where they have a
/// property more, their name (kernel 6.12 arch/powerpc/kexec/core_64.c, `update_cpus_node`).
fn hotplug_room(root: &Node, facts: &Facts) -> usize {
    let cpus = root.child("cpus").map(|cpus| &*cpus.children).unwrap_or_default();
    let cores: Vec<&Node> = cpus.iter().filter(|node| node.is_device_type("cpu")).collect();
    let Some(&core) = cores.first() else { return 0 };
    let threads =
        core.property("ibm,ppc-interrupt-server#s").map_or(1, |servers| servers.len() / 4);
    let possible = facts.cpu_notes.len().div_ceil(threads.max(1)).max(cores.len());
    let mut root = core.clone();
    root.set_string("name", core.base_name());
    let tree = DeviceTree { root, ..DeviceTree::default() };
    // A tree with nothing but this node is a little larger than the node. One that cannot be
    // written is an error of the whole tree.
    let each = tree.write(0).map_or(0, |bytes| bytes.len());
    possible.saturating_mul(each)
}
