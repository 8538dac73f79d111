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
        if !value.len().is_multiple_of(self.pair()) {
            return Err(node.bad(property, "pairs of an address and a size"));
        }
        self.decode(value)
            .ok_or_else(|| node.bad(property, "ranges that end within the address space"))
    }

    /// A count, as wide as a size, and so many pairs, with the bytes that follow them; `None` if
    /// there are fewer, or if a range ends beyond the address space.
    pub fn counted(self, value: &[u8]) -> Option<(Vec<PhysRange>, &[u8])> {
        let (count, rest) = value.split_at_checked(self.size * CELL)?;
        let length = usize::try_from(number(count)).ok()?.checked_mul(self.pair())?;
        let (pairs, rest) = rest.split_at_checked(length)?;
        Some((self.decode(pairs)?, rest))
    }

    /// Whole pairs.
    fn decode(self, pairs: &[u8]) -> Option<Vec<PhysRange>> {
        let range = |pair: &[u8]| {
            let (address, size) = pair.split_at(self.address * CELL);
            PhysRange::at(number(address), number(size))
        };
        pairs.chunks_exact(self.pair()).map(range).collect()
    }

    /// Bytes of a pair.
    fn pair(self) -> usize {
        (self.address + self.size) * CELL
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

    /// The same behind their count, as [`counted`](Self::counted) reads it.
    pub fn encode_counted(self, ranges: &[PhysRange]) -> Vec<u8> {
        let count = (ranges.len() as u64).to_be_bytes();
        [&count[8 - self.size * CELL..], &self.encode(ranges)].concat()
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
            let counted = [cells.encode_counted(&ranges), vec![7]].concat();
            assert_eq!(cells.counted(&counted), Some((ranges.clone(), &[7][..])));
            assert_eq!(cells.counted(&counted[..counted.len() - 2]), None);
        }
    }

    #[test]
    fn half_pairs_and_overflows_are_refused() {
        let cells = Cells { address: 2, size: 2 };
        assert!(cells.ranges(&node("reg", &[0; 24]), "reg").is_err());
        assert!(cells.ranges(&node("reg", &[0xff; 16]), "reg").is_err());
    }
}
