//! Logical memory blocks: the memory that a partition can gain and lose while it runs, in the
//! node `ibm,dynamic-reconfiguration-memory` (PAPR; kernel 6.1 arch/powerpc/mm/drmem.c).

use alloc::vec::Vec;

use crate::fdt::{DeviceTree, ValueError};
use crate::range::{self, PhysRange};

/// The node.
const NODE: &str = "ibm,dynamic-reconfiguration-memory";
/// One entry for each block.
const EACH: &str = "ibm,dynamic-memory";
/// One entry for each run of blocks that have the same attributes.
const RUNS: &str = "ibm,dynamic-memory-v2";
/// What a kernel may use of the blocks, where that is not all of them.
const USABLE: &str = "linux,drconf-usable-memory";
/// Bytes of an entry of either property.
const ENTRY: usize = 24;
/// More blocks are damage: with the usual 256 MiB this many are a PiB.
const BLOCKS_MAX: u64 = 1 << 22;

/// `DRCONF_MEM_ASSIGNED`: the block belongs to this partition.
const ASSIGNED: u32 = 0x8;
/// `DRCONF_MEM_RESERVED`: the block is not to be used.
const RESERVED: u32 = 0x80;

/// All blocks that the partition has or could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lmbs {
    /// Bytes of a block.
    size: u64,
    runs: Vec<Run>,
}

/// Neighbouring blocks with the same attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    base: u64,
    count: u32,
    flags: u32,
}

/// Logical memory blocks that are not as documented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LmbError {
    /// A property is not as documented.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// There are blocks, but it is not said how large they are.
    #[error("device tree: {NODE} has no ibm,lmb-size, or a size of 0")]
    NoSize,
    /// Fewer entries than the first cell says.
    #[error("device tree: {property} in {NODE} has {length} bytes, too few for {count} entries")]
    Truncated {
        /// The property.
        property: &'static str,
        /// Bytes that it has.
        length: usize,
        /// Entries that it should have.
        count: u32,
    },
    /// Blocks beyond all memory.
    #[error(
        "device tree: {count} blocks of {size:#x} bytes at {base:#x} in {NODE} are more than a \
         machine has"
    )]
    TooMany {
        /// The first one's address.
        base: u64,
        /// How many.
        count: u32,
        /// Bytes of each.
        size: u64,
    },
}

impl Lmbs {
    /// The blocks of a tree; `None` if it has none.
    pub fn read(tree: &DeviceTree) -> Result<Option<Self>, LmbError> {
        let Some(node) = tree.root.child(NODE) else { return Ok(None) };
        let (property, decode): (_, fn(&[u8; ENTRY]) -> Run) =
            if node.property(RUNS).is_some() { (RUNS, Run::of_run) } else { (EACH, Run::of_block) };
        let Some(value) = node.property(property) else { return Ok(None) };
        let size = node.number("ibm,lmb-size")?.filter(|size| *size > 0).ok_or(LmbError::NoSize)?;

        let length = value.len();
        let truncated = |count| LmbError::Truncated { property, length, count };
        let (count, entries) = value.split_first_chunk().ok_or(truncated(1))?;
        let count = u32::from_be_bytes(*count);
        let (entries, _) = entries.as_chunks();
        let entries = entries.get(..count as usize).ok_or(truncated(count))?;
        let lmbs = Self { size, runs: entries.iter().map(decode).collect() };
        lmbs.check()?;
        Ok(Some(lmbs))
    }

    fn check(&self) -> Result<(), LmbError> {
        let mut total = 0_u64;
        for &Run { base, count, .. } in &self.runs {
            total = total.saturating_add(count.into());
            let end = self.size.checked_mul(count.into()).and_then(|size| base.checked_add(size));
            if end.is_none() || total > BLOCKS_MAX {
                return Err(LmbError::TooMany { base, count, size: self.size });
            }
        }
        Ok(())
    }

    /// What a kernel with `tree` uses: all of each block that the partition has, unless the tree
    /// limits it.
    pub fn usable(&self, tree: &DeviceTree) -> Result<Vec<PhysRange>, LmbError> {
        let cells = tree.memory_cells()?;
        let node = tree.root.child(NODE);
        let Some((node, mut rest)) = node.and_then(|node| Some((node, node.property(USABLE)?)))
        else {
            return Ok(self.in_use().collect());
        };
        let mut usable = Vec::new();
        for _block in self.in_use() {
            let Some((ranges, behind)) = cells.counted(rest) else {
                return Err(node.bad(USABLE, "a count and so many ranges for each block").into());
            };
            usable.extend(ranges.into_iter().filter(|range| !range.is_empty()));
            rest = behind;
        }
        Ok(usable)
    }

    /// The blocks that the partition has and may use, one by one, in the order of the property.
    fn in_use(&self) -> impl Iterator<Item = PhysRange> {
        self.runs
            .iter()
            .filter(|run| run.flags & ASSIGNED != 0 && run.flags & RESERVED == 0)
            .flat_map(|run| (0..u64::from(run.count)).map(|index| self.block(run, index)))
    }

    fn block(&self, run: &Run, index: u64) -> PhysRange {
        // `check` has seen that the whole run is within the address space.
        let start = run.base + index * self.size;
        PhysRange::new(start, start + self.size)
    }

    /// Limits what a kernel started with `tree` uses of these blocks to what is in `usable`.
    ///
    /// For each block `linux,drconf-usable-memory` has the number of usable ranges, then these;
    /// the kernel reads no number for blocks that it does not use at all (kernel 6.1
    /// arch/powerpc/kernel/prom.c, `early_init_drmem_lmb`).
    pub fn set_usable(
        &self,
        tree: &mut DeviceTree,
        usable: &[PhysRange],
    ) -> Result<(), ValueError> {
        let cells = tree.memory_cells()?;
        let mut value = Vec::new();
        for block in self.in_use() {
            value.extend(cells.encode_counted(&range::intersect(&[block], usable)));
        }
        tree.root.child_or_new(NODE).set(USABLE, value);
        Ok(())
    }
}

impl Run {
    /// An entry of [`EACH`]: address, DRC index, reserved, associativity, flags.
    fn of_block(entry: &[u8; ENTRY]) -> Self {
        Self { base: u64_at(entry, 0), count: 1, flags: u32_at(entry, 20) }
    }

    /// An entry of [`RUNS`]: number of blocks, address, DRC index, associativity, flags.
    fn of_run(entry: &[u8; ENTRY]) -> Self {
        Self { base: u64_at(entry, 4), count: u32_at(entry, 0), flags: u32_at(entry, 20) }
    }
}

fn u32_at(entry: &[u8; ENTRY], offset: usize) -> u32 {
    entry[offset..offset + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn u64_at(entry: &[u8; ENTRY], offset: usize) -> u64 {
    u64::from(u32_at(entry, offset)) << 32 | u64::from(u32_at(entry, offset + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    const SIZE: u64 = 256 << 20;

    fn tree(property: &str, entries: &[[u32; 6]]) -> DeviceTree {
        let mut tree = DeviceTree::default();
        tree.root.set("#size-cells", 2_u32.to_be_bytes());
        let node = tree.root.child_or_new(NODE);
        node.set_u64("ibm,lmb-size", SIZE);
        let count = u32::try_from(entries.len()).unwrap();
        let words = core::iter::once(&count).chain(entries.as_flattened());
        let value: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
        node.set(property, value);
        tree
    }

    fn blocks(indices: &[u64]) -> Vec<PhysRange> {
        indices.iter().map(|index| PhysRange::new(index * SIZE, (index + 1) * SIZE)).collect()
    }

    #[test]
    fn blocks_are_used_if_they_are_assigned_and_not_reserved() {
        let each = tree(
            EACH,
            &[
                [0, 0x1000_0000, 1, 0, 0, 8],
                [0, 0x2000_0000, 2, 0, 0, 0],
                [0, 0x3000_0000, 3, 0, 0, 0x88],
                [4, 0, 4, 0, 0, 8],
            ],
        );
        let lmbs = Lmbs::read(&each).unwrap().unwrap();
        assert_eq!(lmbs.usable(&each).unwrap(), blocks(&[1, 64]));
    }

    #[test]
    fn runs_are_so_many_blocks() {
        let runs = tree(RUNS, &[[3, 0, 0x1000_0000, 1, 0, 8], [2, 0, 0x4000_0000, 4, 0, 0]]);
        let lmbs = Lmbs::read(&runs).unwrap().unwrap();
        assert_eq!(lmbs.usable(&runs).unwrap(), blocks(&[1, 2, 3]));
        assert_eq!(Lmbs::read(&DeviceTree::default()), Ok(None));
    }

    #[test]
    fn each_block_in_use_has_a_count_and_its_usable_ranges() {
        let mut tree = tree(
            EACH,
            &[
                [0, 0x1000_0000, 1, 0, 0, 8],
                [0, 0x2000_0000, 2, 0, 0, 0],
                [0, 0x3000_0000, 3, 0, 0, 8],
            ],
        );
        let lmbs = Lmbs::read(&tree).unwrap().unwrap();
        let usable =
            [PhysRange::new(0x1800_0000, 0x1900_0000), PhysRange::new(0x2000_0000, 0x2100_0000)];
        lmbs.set_usable(&mut tree, &usable).unwrap();
        assert_eq!(lmbs.usable(&tree), Ok(vec![usable[0]]));
        let value = tree.root.child(NODE).unwrap().property(USABLE).unwrap();
        let (numbers, rest) = value.as_chunks();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        // One range in the first block, nothing for the one that is not assigned, none in the last.
        assert_eq!((numbers, rest), (vec![1, 0x1800_0000, 0x100_0000, 0], &[][..]));

        tree.root.child_or_new(NODE).set(USABLE, [0; 8]);
        let error = lmbs.usable(&tree).unwrap_err().to_string();
        assert!(error.contains("linux,drconf-usable-memory"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut no_size = tree(EACH, &[]);
        no_size.root.child_or_new(NODE).remove("ibm,lmb-size");
        assert_eq!(Lmbs::read(&no_size), Err(LmbError::NoSize));
        let many = tree(RUNS, &[[u32::MAX, 0, 0, 0, 0, 8]]);
        assert!(matches!(Lmbs::read(&many), Err(LmbError::TooMany { count: u32::MAX, .. })));
        let high = tree(RUNS, &[[2, u32::MAX, 0xf000_0000, 0, 0, 8]]);
        assert!(matches!(Lmbs::read(&high), Err(LmbError::TooMany { count: 2, .. })));
        let mut short = tree(EACH, &[[0; 6]]);
        short.root.child_or_new(NODE).set(EACH, [0, 0, 0, 2, 0, 0]);
        assert!(matches!(Lmbs::read(&short), Err(LmbError::Truncated { count: 2, .. })));
    }
}
