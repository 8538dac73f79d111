//! Numbers of several cells: how `reg` and its kin are read and written.

use alloc::vec::Vec;

use crate::fdt::{Node, ValueError};
use crate::range::PhysRange;

/// Bytes of a cell.
const CELL: usize = 4;

/// How many cells an address and a size have in the nodes below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    address: usize,
    size: usize,
}

impl Cells {
    /// Those below `node`: its `#address-cells` and `#size-cells`, by default 2 and 1. More than
    /// 64 bits are refused.
    pub fn below(node: &Node) -> Result<Self, ValueError> {
        let count = |name, default| match node.u32(name)? {
            None => Ok(default),
            Some(1) => Ok(1),
            Some(2) => Ok(2),
            Some(_) => Err(node.bad(name, "one or two cells for each memory address and size")),
        };
        Ok(Self { address: count("#address-cells", 2)?, size: count("#size-cells", 1)? })
    }

    /// The (address, size) pairs of a property of `node`; none if it has no such property.
    pub fn ranges(self, node: &Node, property: &str) -> Result<Vec<PhysRange>, ValueError> {
        let value = node.property(property).unwrap_or_default();
        let pair = (self.address + self.size) * CELL;
        if !value.len().is_multiple_of(pair) {
            return Err(node.bad(property, "pairs of an address and a size"));
        }
        let pairs = value.chunks_exact(pair).map(|pair| {
            let (address, size) = pair.split_at(self.address * CELL);
            PhysRange::at(number(address), number(size))
                .ok_or_else(|| node.bad(property, "ranges that end within the address space"))
        });
        pairs.collect()
    }

    /// The pairs of `ranges`, as a property's value. A number that needs more cells loses its
    /// upper ones: the ranges must come from memory that the same node describes.
    pub fn encode(self, ranges: &[PhysRange]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.extend_from_slice(&range.start.to_be_bytes()[8 - self.address * CELL..]);
            bytes.extend_from_slice(&range.len().to_be_bytes()[8 - self.size * CELL..]);
        }
        bytes
    }

    /// A count, as wide as a size.
    pub fn encode_count(self, count: usize) -> Vec<u8> {
        (count as u64).to_be_bytes()[8 - self.size * CELL..].to_vec()
    }
}

/// At most eight bytes, big-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn node(property: &str, value: &[u8]) -> Node {
        let mut node = Node::new("test");
        node.set(property, value);
        node
    }

    #[test]
    fn cells_have_defaults_and_limits() {
        assert_eq!(Cells::below(&Node::new("")), Ok(Cells { address: 2, size: 1 }));
        let one = node("#address-cells", &[0, 0, 0, 1]);
        assert_eq!(Cells::below(&one), Ok(Cells { address: 1, size: 1 }));
        for bad in [[0, 0, 0, 0], [0, 0, 0, 3], [1, 0, 0, 1]] {
            assert!(Cells::below(&node("#size-cells", &bad)).is_err());
        }
    }

    #[test]
    fn pairs_are_read_as_they_were_written() {
        let ranges = vec![PhysRange::new(0, 0x1000), PhysRange::new(0x8000_0000, 0x9000_0000)];
        for (address, size) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
            let cells = Cells { address, size };
            let node = node("reg", &cells.encode(&ranges));
            assert_eq!(cells.ranges(&node, "reg"), Ok(ranges.clone()));
            assert_eq!(cells.ranges(&node, "other"), Ok(vec![]));
        }
    }

    #[test]
    fn half_pairs_and_overflows_are_refused() {
        let cells = Cells { address: 2, size: 2 };
        assert!(cells.ranges(&node("reg", &[0; 24]), "reg").is_err());
        assert!(cells.ranges(&node("reg", &[0xff; 16]), "reg").is_err());
    }
}
