//! A device tree in memory: nodes that own their properties and children.

use alloc::{string::String, vec::Vec};

use crate::range::PhysRange;

/// A device tree with what its flattened form says besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceTree {
    /// Physical memory that the kernel must leave alone (the memory reservation block).
    pub reservations: Vec<PhysRange>,
    /// Number of the CPU that boots, by the hardware's counting.
    pub boot_cpuid_phys: u32,
    /// The root node, whose name is empty.
    pub root: Node,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name with the unit address: `memory@0`.
    pub name: String,
    /// Its properties; no two have the same name.
    pub properties: Vec<Property>,
    /// The nodes below it.
    pub children: Vec<Node>,
}

/// A property. What its bytes mean only its reader knows; numbers are big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// A property does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "device tree: property {property} of node {node:?} has {length} bytes; expected {expected}"
)]
pub struct ValueError {
    /// The node's name.
    pub node: String,
    /// The property's name.
    pub property: String,
    /// Bytes that it has.
    pub length: usize,
    /// What should be there.
    pub expected: &'static str,
}

impl DeviceTree {
    /// The node at an absolute path of full names: `/vdevice/vty@71000000`.
    pub fn node(&self, path: &str) -> Option<&Node> {
        let mut node = &self.root;
        for name in components(path)? {
            node = node.child(name)?;
        }
        Some(node)
    }

    /// As [`node`](Self::node), to change it.
    pub fn node_mut(&mut self, path: &str) -> Option<&mut Node> {
        let mut node = &mut self.root;
        for name in components(path)? {
            node = node.children.iter_mut().find(|child| child.name == name)?;
        }
        Some(node)
    }
}

/// The names in an absolute path; `None` for any other one (an alias).
fn components(path: &str) -> Option<impl Iterator<Item = &str>> {
    Some(path.strip_prefix('/')?.split('/').filter(|name| !name.is_empty()))
}

impl Node {
    /// A node with neither properties nor children.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The name without the unit address: `memory`.
    pub fn base_name(&self) -> &str {
        self.name.split_once('@').map_or(&*self.name, |(base, _)| base)
    }

    /// The node of that full name right below this one.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The node of that full name right below this one, made if it is not there.
    pub fn child_or_new(&mut self, name: &str) -> &mut Self {
        let index = match self.children.iter().position(|child| child.name == name) {
            Some(index) => index,
            None => {
                self.children.push(Self::new(name));
                self.children.len() - 1
            }
        };
        &mut self.children[index]
    }

    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|property| property.name == name).map(|found| &*found.value)
    }

    /// A property that is one cell.
    pub fn u32(&self, name: &str) -> Result<Option<u32>, ValueError> {
        let Some(value) = self.property(name) else { return Ok(None) };
        let bytes = value.try_into().map_err(|_| self.bad(name, "one cell (4 bytes)"))?;
        Ok(Some(u32::from_be_bytes(bytes)))
    }

    /// A property that is a number of one or two cells.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ValueError> {
        match self.property(name) {
            None => Ok(None),
            Some(&[a, b, c, d]) => Ok(Some(u32::from_be_bytes([a, b, c, d]).into())),
            Some(value) => {
                let bytes = value
                    .try_into()
                    .map_err(|_| self.bad(name, "one or two cells (4 or 8 bytes)"))?;
                Ok(Some(u64::from_be_bytes(bytes)))
            }
        }
    }

    /// A property that is a string, without its final NUL. Bytes that are not UTF-8 make it an
    /// error.
    pub fn string(&self, name: &str) -> Result<Option<&str>, ValueError> {
        let Some(value) = self.property(name) else { return Ok(None) };
        let text = value.strip_suffix(&[0]).unwrap_or(value);
        core::str::from_utf8(text).map(Some).map_err(|_| self.bad(name, "a string"))
    }

    /// Whether `compatible`, a list of strings, names `model`.
    pub fn is_compatible(&self, model: &str) -> bool {
        let models = self.property("compatible").unwrap_or_default();
        models.split(|byte| *byte == 0).any(|name| name == model.as_bytes())
    }

    /// Whether `device_type` is `kind`.
    pub fn is_device_type(&self, kind: &str) -> bool {
        self.property("device_type")
            .is_some_and(|value| value.strip_suffix(&[0]).unwrap_or(value) == kind.as_bytes())
    }

    /// Gives a property this value, whether it is there or not.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.properties.iter_mut().find(|property| property.name == name) {
            Some(property) => property.value = value,
            None => self.properties.push(Property { name: name.into(), value }),
        }
    }

    /// Gives a property a number of two cells.
    pub fn set_u64(&mut self, name: &str, value: u64) {
        self.set(name, value.to_be_bytes());
    }

    /// Gives a property a string, with the final NUL.
    pub fn set_string(&mut self, name: &str, value: &str) {
        let mut bytes = Vec::from(value);
        bytes.push(0);
        self.set(name, bytes);
    }

    /// Takes a property away, if it is there.
    pub fn remove(&mut self, name: &str) {
        self.properties.retain(|property| property.name != name);
    }

    /// Calls `visit` with this node and all below it, parents first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in &self.children {
            child.walk(visit);
        }
    }

    /// As [`walk`](Self::walk), to change them.
    pub fn walk_mut(&mut self, visit: &mut impl FnMut(&mut Self)) {
        visit(self);
        for child in &mut self.children {
            child.walk_mut(visit);
        }
    }

    /// The error about a property that is not what is expected of it.
    pub fn bad(&self, property: &str, expected: &'static str) -> ValueError {
        ValueError {
            node: self.name.clone(),
            property: property.into(),
            length: self.property(property).map_or(0, <[u8]>::len),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn tree() -> DeviceTree {
        let mut tree = DeviceTree::default();
        let vty = tree.root.child_or_new("vdevice").child_or_new("vty@71000000");
        vty.set("reg", 0x7100_0000_u32.to_be_bytes());
        vty.set("compatible", *b"hvterm1\0hvterm-protocol\0");
        tree
    }

    #[test]
    fn nodes_are_found_by_their_path() {
        let mut tree = tree();
        assert_eq!(tree.node("/").unwrap().name, "");
        let vty = tree.node("/vdevice/vty@71000000").unwrap();
        assert_eq!((vty.base_name(), vty.u32("reg")), ("vty", Ok(Some(0x7100_0000))));
        assert_eq!(tree.node("/vdevice/vty"), None);
        assert_eq!(tree.node("vdevice"), None, "an alias is no path");
        tree.node_mut("/vdevice").unwrap().set_u64("x", 1);
        assert_eq!(tree.root.children[0].number("x"), Ok(Some(1)));
    }

    #[test]
    fn values_are_checked_against_what_is_expected_of_them() {
        let mut node = Node::new("chosen");
        node.set("three", [1, 2, 3]);
        node.set("one", [0, 0, 1, 0]);
        assert_eq!(node.number("none"), Ok(None));
        assert_eq!(node.number("one"), Ok(Some(256)));
        assert_eq!(
            node.number("three").unwrap_err().to_string(),
            "device tree: property three of node \"chosen\" has 3 bytes; expected one or two \
             cells (4 or 8 bytes)"
        );
        assert!(node.u32("three").is_err());
        node.set("text", *b"ok\0");
        assert_eq!(node.string("text"), Ok(Some("ok")));
        node.set("text", [0xff, 0]);
        assert!(node.string("text").is_err());
    }

    #[test]
    fn compatible_is_a_list() {
        let tree = tree();
        let vty = tree.node("/vdevice/vty@71000000").unwrap();
        assert!(vty.is_compatible("hvterm1") && vty.is_compatible("hvterm-protocol"));
        assert!(!vty.is_compatible("hvterm"));
        assert!(!tree.root.is_compatible("hvterm1"));
    }

    #[test]
    fn properties_are_replaced_not_repeated() {
        let mut node = Node::new("chosen");
        node.set_string("bootargs", "quiet");
        node.set_string("bootargs", "debug");
        assert_eq!(node.properties.len(), 1);
        assert_eq!(node.property("bootargs"), Some(&b"debug\0"[..]));
        node.remove("bootargs");
        assert_eq!(node.properties, vec![]);
    }
}
