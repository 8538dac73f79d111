//! Memory nodes: which physical memory there is, and which of it a kernel may use
//! (kernel 6.1 drivers/of/fdt.c, `early_init_dt_scan_memory`).

use alloc::vec::Vec;

use crate::fdt::{Cells, DeviceTree, Node, ValueError};
use crate::range::{self, PhysRange};

/// What a kernel may use of a memory node, where that is not all of it.
const USABLE: &str = "linux,usable-memory";

impl DeviceTree {
    /// The nodes that describe memory. They are right below the root.
    pub fn memory_nodes(&self) -> impl Iterator<Item = &Node> {
        self.root.children.iter().filter(|node| is_memory(node))
    }

    /// How addresses and sizes of memory are written.
    pub fn memory_cells(&self) -> Result<Cells, ValueError> {
        Cells::below(&self.root)
    }

    /// Limits the memory of each memory node to what is in `usable`. A node with nothing usable
    /// gets one empty range: without the property the kernel would use all of it.
    pub fn set_usable_memory(&mut self, usable: &[PhysRange]) -> Result<(), ValueError> {
        let cells = self.memory_cells()?;
        for node in self.root.children.iter_mut().filter(|node| is_memory(node)) {
            let ranges = cells.ranges(node, "reg")?;
            let mut inside = range::intersect(&ranges, usable);
            if inside.is_empty() {
                inside.push(PhysRange::default());
            }
            node.set(USABLE, cells.encode(&inside));
        }
        Ok(())
    }
}

/// The ranges of a memory node that a kernel with this tree uses, in the node's order.
pub fn usable_ranges(node: &Node, cells: Cells) -> Result<Vec<PhysRange>, ValueError> {
    let property = if node.property(USABLE).is_some() { USABLE } else { "reg" };
    let mut ranges = cells.ranges(node, property)?;
    ranges.retain(|range| !range.is_empty());
    Ok(ranges)
}

fn is_memory(node: &Node) -> bool {
    let disabled = node
        .property("status")
        .is_some_and(|status| !matches!(status, b"okay\0" | b"ok\0" | b"okay" | b"ok"));
    node.is_device_type("memory") && !disabled
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const M: u64 = 1 << 20;

    fn tree() -> DeviceTree {
        let mut tree = DeviceTree::default();
        tree.root.set("#size-cells", 2_u32.to_be_bytes());
        let cells = Cells::below(&tree.root).unwrap();
        for (name, ranges) in [
            // Two pairs: each of them counts.
            ("memory@0", vec![PhysRange::new(0, 256 * M), PhysRange::new(512 * M, 768 * M)]),
            ("memory@80000000", vec![PhysRange::new(2048 * M, 4096 * M)]),
        ] {
            let node = tree.root.child_or_new(name);
            node.set_string("device_type", "memory");
            node.set("reg", cells.encode(&ranges));
        }
        tree.root.child_or_new("memory-controller@0");
        tree
    }

    fn ranges(tree: &DeviceTree) -> Vec<Vec<PhysRange>> {
        let cells = tree.memory_cells().unwrap();
        tree.memory_nodes().map(|node| usable_ranges(node, cells).unwrap()).collect()
    }

    #[test]
    fn every_pair_of_every_memory_node_counts() {
        let mut tree = tree();
        assert_eq!(ranges(&tree).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        tree.node_mut("/memory@80000000").unwrap().set_string("status", "disabled");
        assert_eq!(ranges(&tree).len(), 1);
    }

    #[test]
    fn usable_memory_is_cut_out_of_each_node() {
        let mut tree = tree();
        tree.set_usable_memory(&[PhysRange::new(128 * M, 640 * M)]).unwrap();
        assert_eq!(
            ranges(&tree),
            [vec![PhysRange::new(128 * M, 256 * M), PhysRange::new(512 * M, 640 * M)], vec![]]
        );
        let none = tree.node("/memory@80000000").unwrap().property(USABLE);
        assert_eq!(none, Some(&[0; 16][..]), "an empty range, not an empty property");
    }
}
