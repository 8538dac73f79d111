//! The flattened form, written: header, memory reservations, structure, strings, head-room.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::fdt::{DeviceTree, HEADER_SIZE, MAGIC, Node, tag};

/// The version that is written, and the oldest one whose readers understand it.
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;

/// A tree that cannot be flattened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device tree takes {size:#x} bytes: more than a flattened one can have")]
pub struct WriteError {
    /// Bytes that it would take.
    pub size: usize,
}

impl DeviceTree {
    /// Flattens the tree. `room` bytes of its total size are left free at the end, for readers
    /// that add to it in place.
    pub fn write(&self, room: usize) -> Result<Vec<u8>, WriteError> {
        let mut blocks = Blocks::default();
        blocks.node(&self.root);
        blocks.tag(tag::END);

        let structure_at = HEADER_SIZE + (self.reservations.len() + 1) * 16;
        let strings_at = structure_at + blocks.structure.len();
        let end = strings_at + blocks.strings.len();
        let size = end.checked_add(room).map_or(usize::MAX, |size| size.next_multiple_of(8));
        // Every offset and length is smaller than the whole.
        let total = u32::try_from(size).map_err(|_| WriteError { size })?;
        let word = |number: usize| u32::try_from(number).unwrap_or(total);

        let mut bytes = Vec::with_capacity(size);
        for number in [
            MAGIC,
            total,
            word(structure_at),
            word(strings_at),
            word(HEADER_SIZE),
            VERSION,
            COMPATIBLE_VERSION,
            self.boot_cpuid_phys,
            word(blocks.strings.len()),
            word(blocks.structure.len()),
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for reservation in &self.reservations {
            bytes.extend_from_slice(&reservation.start.to_be_bytes());
            bytes.extend_from_slice(&reservation.len().to_be_bytes());
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&blocks.structure);
        bytes.extend_from_slice(&blocks.strings);
        bytes.resize(size, 0);
        Ok(bytes)
    }
}

/// The structure block and the strings it refers to.
#[derive(Default)]
struct Blocks<'a> {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Where each property name is in `strings`.
    names: BTreeMap<&'a str, usize>,
}

impl<'a> Blocks<'a> {
    fn node(&mut self, node: &'a Node) {
        self.tag(tag::BEGIN_NODE);
        self.structure.extend_from_slice(node.name.as_bytes());
        self.structure.push(0);
        self.align();
        for property in &node.properties {
            self.tag(tag::PROP);
            self.length(property.value.len());
            let name = self.name(&property.name);
            self.length(name);
            self.structure.extend_from_slice(&property.value);
            self.align();
        }
        for child in &node.children {
            self.node(child);
        }
        self.tag(tag::END_NODE);
    }

    fn name(&mut self, name: &'a str) -> usize {
        *self.names.entry(name).or_insert_with(|| {
            let offset = self.strings.len();
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            offset
        })
    }

    fn tag(&mut self, tag: u32) {
        self.structure.extend_from_slice(&tag.to_be_bytes());
    }

    /// A length or offset; one that does not fit makes the whole too large, which is refused
    /// in the end.
    fn length(&mut self, length: usize) {
        self.tag(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn align(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }
}
