//! Device trees: parsed from their flattened form, edited, and flattened again
//! (Devicetree Specification v0.4, chapter 5; version 17 is written, readable as 16).
//!
//! Nothing here belongs to one architecture: whatever boots with a flattened device tree is
//! told about its memory, initrd and command line in the same way.
//!
//! Why this is not a library: what kexec writes is a copy of the running machine's tree, and
//! trees of real machines do not keep the specification's rules about names. Every pseries
//! machine has a node called `ibm,dynamic-reconfiguration-memory` (34 characters; 31 are
//! allowed) and properties such as `ibm,associativity-reference-points`. dtoolkit 0.4 and
//! vm-fdt 0.3 refuse longer names, when reading and when writing; neither has room behind the
//! tree, which CPU hotplug needs. The other libraries only read.
#![forbid(unsafe_code)]

mod cells;
mod memory;
mod parse;
#[cfg(test)]
mod properties;
mod tree;
mod write;

pub use cells::Cells;
pub use memory::usable_ranges;
pub use parse::ParseError;
pub use tree::{DeviceTree, Node, Property, ValueError};
pub use write::WriteError;

/// First word of a flattened tree.
const MAGIC: u32 = 0xd00d_feed;
/// The header's ten words, in bytes.
const HEADER_SIZE: usize = 40;
/// Deepest nesting of nodes. Real trees have fewer than ten levels; a limit keeps whoever walks
/// a tree by recursion from using up the stack.
pub(crate) const DEPTH_MAX: usize = 64;

/// Tags of the structure block.
mod tag {
    pub const BEGIN_NODE: u32 = 1;
    pub const END_NODE: u32 = 2;
    pub const PROP: u32 = 3;
    pub const NOP: u32 = 4;
    pub const END: u32 = 9;
}
