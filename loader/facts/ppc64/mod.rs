//! What only ppc64 machines have. Everything is in their device tree: the firmware's part of it
//! and what the running kernel adds for kexec (kernel 6.1 arch/powerpc/kexec/core.c and
//! core_64.c, `linux,…`).

pub mod lmb;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use lmb::{LmbError, Lmbs};

use crate::fdt::{self, DeviceTree, Node, ValueError};
use crate::range::{self, PhysRange};

/// Where the kernel's linear map shows physical address 0 (kernel 6.1 arch/powerpc/Kconfig,
/// `PAGE_OFFSET`); it is not randomized.
pub const PAGE_OFFSET: u64 = 0xc000_0000_0000_0000;

/// A ppc64 machine: a partition of a hypervisor (pseries), or the hypervisor itself on bare
/// metal (powernv).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppc64 {
    /// The running kernel's device tree.
    pub tree: DeviceTree,
    /// RAM, sorted and disjoint: every range of every memory node, and the logical memory blocks
    /// that belong to the partition.
    pub memory: Vec<PhysRange>,
    /// Memory above it is not used by the running kernel (its `mem=`).
    pub memory_limit: Option<u64>,
    /// Memory that code in real mode reaches (the real mode area); on bare metal all of it.
    pub rma: PhysRange,
    /// The running kernel's image. The kernel refuses segments below its end.
    pub kernel: PhysRange,
    /// Memory that firmware keeps (`reserved-ranges`).
    pub reserved: Vec<PhysRange>,
    /// "Crash kernel" memory.
    pub crash_kernel: Option<PhysRange>,
    /// The running kernel's hash page table, where a hypervisor does not keep it.
    pub hash_table: Option<PhysRange>,
    /// Run-Time Abstraction Services, on pseries.
    pub rtas: Option<Rtas>,
    /// OPAL, the firmware of powernv.
    pub opal: Option<Opal>,
    /// DMA translation tables of PCI host bridges, where a hypervisor does not keep them.
    pub tce_tables: Vec<PhysRange>,
    /// The initrd that the running kernel was started with. Its memory is in other use by now,
    /// unless the kernel was told to retain it.
    pub initrd: Option<PhysRange>,
    /// The console that firmware can write to.
    pub terminal: Option<Terminal>,
}

/// Run-Time Abstraction Services: firmware in the partition's memory (PAPR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtas {
    /// Its memory.
    pub range: PhysRange,
    /// Its first instruction.
    pub entry: u64,
    /// Number of the `system-reboot` service, if there is one.
    pub system_reboot: Option<u32>,
}

/// OPAL (skiboot doc/device-tree/ibm,opal.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opal {
    /// Its memory.
    pub range: PhysRange,
    /// Its first instruction.
    pub entry: u64,
}

/// A console that works without a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The hypervisor's virtual terminal with this unit address (`H_PUT_TERM_CHAR`).
    Hypervisor(u32),
    /// OPAL's terminal with this number (`OPAL_CONSOLE_WRITE`).
    Opal(u32),
}

/// A device tree that does not describe a ppc64 machine that kexec knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A property is not as documented.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Logical memory blocks that are not as documented.
    #[error(transparent)]
    Lmb(#[from] LmbError),
    /// A property that is needed.
    #[error("device tree: node {node} has no property {property}{advice}")]
    Missing {
        /// The node's path.
        node: &'static str,
        /// The property's name.
        property: &'static str,
        /// Why that may be.
        advice: &'static str,
    },
    /// No memory at all.
    #[error("device tree: there is no memory node with memory in it")]
    NoMemory,
}

impl Ppc64 {
    /// Reads the facts out of the running kernel's device tree.
    pub fn new(tree: DeviceTree) -> Result<Self, TreeError> {
        let cells = tree.memory_cells()?;
        let blocks = memory_blocks(&tree)?;
        let first = blocks.iter().min().copied().ok_or(TreeError::NoMemory)?;
        let mut memory = blocks;
        range::normalize(&mut memory);

        let nothing = Node::default();
        let chosen = tree.node("/chosen").unwrap_or(&nothing);
        let kernel_end = chosen.number("linux,kernel-end")?.ok_or(TreeError::Missing {
            node: "/chosen",
            property: "linux,kernel-end",
            advice: ": the running kernel has no kexec (CONFIG_KEXEC)",
        })?;
        let opal = opal(&tree)?;
        Ok(Self {
            memory,
            // The property is always there; 0 says that there is no limit.
            memory_limit: chosen.number("linux,memory-limit")?.filter(|limit| *limit != 0),
            rma: match opal {
                Some(_) => PhysRange::new(0, u64::MAX),
                None => first,
            },
            kernel: PhysRange::new(0, kernel_end),
            reserved: cells.ranges(&tree.root, "reserved-ranges")?,
            crash_kernel: sized(chosen, "linux,crashkernel-base", "linux,crashkernel-size")?,
            hash_table: sized(chosen, "linux,htab-base", "linux,htab-size")?,
            rtas: rtas(&tree)?,
            opal,
            tce_tables: tce_tables(&tree)?,
            initrd: initrd(chosen)?,
            terminal: terminal(&tree)?,
            tree,
        })
    }

    /// RAM as the running kernel uses it: up to its memory limit.
    pub fn system_ram(&self) -> Vec<PhysRange> {
        let limit = self.memory_limit.unwrap_or(u64::MAX);
        range::intersect(&self.memory, &[PhysRange::new(0, limit)])
    }

    /// Memory that firmware, hardware or the running kernel's page tables need until the next
    /// kernel runs, or for ever: nothing may be placed there.
    pub fn occupied(&self) -> Vec<PhysRange> {
        let mut occupied = self.firmware();
        occupied.extend(&self.reserved);
        occupied.extend(self.hash_table);
        occupied
    }

    /// Memory of firmware and hardware that a capture kernel needs besides its own: RTAS, OPAL and
    /// the TCE tables.
    pub fn firmware(&self) -> Vec<PhysRange> {
        let rtas = self.rtas.map(|rtas| rtas.range);
        let opal = self.opal.map(|opal| opal.range);
        rtas.into_iter().chain(opal).chain(self.tce_tables.iter().copied()).collect()
    }
}

/// Memory, block by block, as a kernel with this tree learns of it.
pub fn memory_blocks(tree: &DeviceTree) -> Result<Vec<PhysRange>, LmbError> {
    let cells = tree.memory_cells()?;
    let mut blocks = Vec::new();
    for node in tree.memory_nodes() {
        // Memory on a GPU: the kernel does not use it as RAM.
        if !node.is_compatible("ibm,coherent-device-memory") {
            blocks.extend(fdt::usable_ranges(node, cells)?);
        }
    }
    if let Some(lmbs) = Lmbs::read(tree)? {
        blocks.extend(lmbs.usable(tree)?);
    }
    Ok(blocks)
}

/// A range given by two properties of a node.
fn sized(node: &Node, base: &str, size: &str) -> Result<Option<PhysRange>, ValueError> {
    let (Some(start), Some(length)) = (node.number(base)?, node.number(size)?) else {
        return Ok(None);
    };
    let range = PhysRange::at(start, length)
        .ok_or_else(|| node.bad(size, "a range that ends within the address space"))?;
    Ok((!range.is_empty()).then_some(range))
}

fn rtas(tree: &DeviceTree) -> Result<Option<Rtas>, ValueError> {
    let Some(node) = tree.node("/rtas") else { return Ok(None) };
    let Some(range) = sized(node, "linux,rtas-base", "rtas-size")? else { return Ok(None) };
    Ok(Some(Rtas {
        range,
        entry: node.number("linux,rtas-entry")?.unwrap_or(range.start),
        system_reboot: node.u32("system-reboot")?,
    }))
}

fn opal(tree: &DeviceTree) -> Result<Option<Opal>, ValueError> {
    let Some(node) = tree.node("/ibm,opal") else { return Ok(None) };
    let range = sized(node, "opal-base-address", "opal-runtime-size")?;
    let entry = node.number("opal-entry-address")?;
    Ok(range.zip(entry).map(|(range, entry)| Opal { range, entry }))
}

fn tce_tables(tree: &DeviceTree) -> Result<Vec<PhysRange>, ValueError> {
    let mut bridges = Vec::new();
    tree.root.walk(&mut |node| {
        if node.is_device_type("pci") {
            bridges.push(node);
        }
    });
    let tables = bridges.into_iter().map(|node| sized(node, "linux,tce-base", "linux,tce-size"));
    Ok(tables.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn initrd(chosen: &Node) -> Result<Option<PhysRange>, ValueError> {
    let start = chosen.number("linux,initrd-start")?;
    let end = chosen.number("linux,initrd-end")?;
    let range = start.zip(end).map(|(start, end)| PhysRange::new(start, end));
    Ok(range.filter(|range| !range.is_empty()))
}

/// The firmware's console, if it is a terminal (it may be a screen); else the first terminal.
fn terminal(tree: &DeviceTree) -> Result<Option<Terminal>, ValueError> {
    let chosen = tree.node("/chosen");
    for property in ["linux,stdout-path", "stdout-path"] {
        let path = match chosen {
            Some(chosen) => chosen.string(property)?.unwrap_or_default(),
            None => "",
        };
        // What follows a colon are the console's parameters.
        let path = path.split(':').next().unwrap_or_default();
        if let Some(terminal) = tree.node(path).map(as_terminal).transpose()?.flatten() {
            return Ok(Some(terminal));
        }
    }
    let mut nodes = Vec::new();
    tree.root.walk(&mut |node| nodes.push(node));
    for node in nodes {
        if let Some(terminal) = as_terminal(node)? {
            return Ok(Some(terminal));
        }
    }
    Ok(None)
}

fn as_terminal(node: &Node) -> Result<Option<Terminal>, ValueError> {
    // The hvterm-protocol of service processors speaks packets; purgatory's lines go through it
    // in bytes, which kernel 6.1 (drivers/tty/hvc/hvc_vio.c) does not do.
    let kind = if node.is_compatible("hvterm1") {
        Terminal::Hypervisor
    } else if node.is_compatible("ibm,opal-console-raw") {
        Terminal::Opal
    } else {
        return Ok(None);
    };
    Ok(node.u32("reg")?.map(kind))
}
