//! The flattened form, read. Every offset is checked; damaged bytes give an error.

use alloc::{string::String, vec::Vec};

use crate::fdt::{DEPTH_MAX, DeviceTree, HEADER_SIZE, MAGIC, Node, Property, tag};
use crate::range::PhysRange;

/// Bytes that are no flattened device tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not even a header.
    #[error("device tree: {length} bytes are too few for a header ({HEADER_SIZE})")]
    TooShort {
        /// Bytes there are.
        length: usize,
    },
    /// Another kind of file.
    #[error("not a flattened device tree: it begins with {found:#010x}, not {MAGIC:#010x}")]
    Magic {
        /// The first word.
        found: u32,
    },
    /// A layout of another time.
    #[error("device tree: version {version}, readable as {compatible}; 16 or 17 is needed")]
    Version {
        /// Its version.
        version: u32,
        /// The oldest version whose readers understand it.
        compatible: u32,
    },
    /// A block outside the file.
    #[error("device tree: {what} at {offset:#x} reaches beyond the {length:#x} bytes of the file")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Where it begins in the file.
        offset: usize,
        /// Bytes of the file.
        length: usize,
    },
    /// A tag that makes no sense where it is.
    #[error("device tree: unexpected tag {tag:#x} at {offset:#x}")]
    Tag {
        /// The tag.
        tag: u32,
        /// Its offset in the file.
        offset: usize,
    },
    /// A name that no tool could have written.
    #[error("device tree: the name at {offset:#x} does not end, or is not UTF-8")]
    Name {
        /// Its offset in the file.
        offset: usize,
    },
    /// Nodes in nodes without end.
    #[error("device tree: at {offset:#x} nodes are nested more than {DEPTH_MAX} deep")]
    TooDeep {
        /// Where in the file.
        offset: usize,
    },
}

impl DeviceTree {
    /// Reads a flattened tree; bytes behind its end do not matter.
    pub fn parse(file: &[u8]) -> Result<Self, ParseError> {
        let header = Header::parse(file)?;
        let file = &file[..header.total_size];
        Ok(Self {
            reservations: reservations(file, header.reservations)?,
            boot_cpuid_phys: header.boot_cpuid_phys,
            root: structure(file, &header)?,
        })
    }
}

/// What the header says; offsets are not checked, but for the total size.
struct Header {
    total_size: usize,
    structure: usize,
    strings: usize,
    reservations: usize,
    boot_cpuid_phys: u32,
}

impl Header {
    fn parse(file: &[u8]) -> Result<Self, ParseError> {
        let short = ParseError::TooShort { length: file.len() };
        let (header, _) = file.split_at_checked(HEADER_SIZE).ok_or(short)?;
        let word = |index: usize| {
            let bytes = &header[index * 4..][..4];
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        if word(0) != MAGIC {
            return Err(ParseError::Magic { found: word(0) });
        }
        let (version, compatible) = (word(5), word(6));
        if version < 16 || compatible > 17 {
            return Err(ParseError::Version { version, compatible });
        }
        let total_size = word(1) as usize;
        if total_size > file.len() || total_size < HEADER_SIZE {
            let (what, length) = ("the tree", file.len());
            return Err(ParseError::Truncated { what, offset: 0, length });
        }
        Ok(Self {
            total_size,
            structure: word(2) as usize,
            strings: word(3) as usize,
            reservations: word(4) as usize,
            boot_cpuid_phys: word(7),
        })
    }
}

/// The memory reservation block: pairs of address and size up to one of zeroes.
fn reservations(file: &[u8], offset: usize) -> Result<Vec<PhysRange>, ParseError> {
    let mut reader = Reader { file, offset };
    let mut reservations = Vec::new();
    loop {
        let what = "the memory reservation block";
        let (address, size) = (reader.u64(what)?, reader.u64(what)?);
        if (address, size) == (0, 0) {
            return Ok(reservations);
        }
        reservations.push(PhysRange::new(address, address.saturating_add(size)));
    }
}

/// The structure block: the root node and all in it.
fn structure(file: &[u8], header: &Header) -> Result<Node, ParseError> {
    let mut reader = Reader { file, offset: header.structure };
    // The node being read is the last; those around it are before it.
    let mut open: Vec<Node> = Vec::new();
    loop {
        let (offset, depth) = (reader.offset, open.len());
        match (reader.tag()?, open.last_mut()) {
            (tag::NOP, _) => {}
            (tag::BEGIN_NODE, _) if depth == DEPTH_MAX => {
                return Err(ParseError::TooDeep { offset });
            }
            (tag::BEGIN_NODE, _) => {
                let name = reader.name()?;
                open.push(Node { name, ..Node::default() });
            }
            (tag::PROP, Some(node)) => node.properties.push(reader.property(header.strings)?),
            (tag::END_NODE, Some(_)) => {
                let Some(node) = open.pop() else { continue };
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => return Ok(node),
                }
            }
            (tag, _) => return Err(ParseError::Tag { tag, offset }),
        }
    }
}

/// Reads one part of the file after the other.
struct Reader<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
        let end = self.offset.checked_add(count);
        let bytes = end.and_then(|end| self.file.get(self.offset..end));
        let length = self.file.len();
        let bytes = bytes.ok_or(ParseError::Truncated { what, offset: self.offset, length })?;
        self.offset += count;
        Ok(bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        let bytes = self.bytes(4, what)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, ParseError> {
        Ok(u64::from(self.u32(what)?) << 32 | u64::from(self.u32(what)?))
    }

    fn tag(&mut self) -> Result<u32, ParseError> {
        self.u32("the structure block")
    }

    /// A node's name, and the padding up to the next tag.
    fn name(&mut self) -> Result<String, ParseError> {
        let name = string(self.file, self.offset)?;
        self.offset += name.len() + 1;
        self.align();
        Ok(name.into())
    }

    fn property(&mut self, strings: usize) -> Result<Property, ParseError> {
        let length = self.u32("a property")? as usize;
        let at = self.offset;
        let name = (self.u32("a property")? as usize).checked_add(strings);
        let name = string(self.file, name.ok_or(ParseError::Name { offset: at })?)?.into();
        let value = self.bytes(length, "a property's value")?.to_vec();
        self.align();
        Ok(Property { name, value })
    }

    /// To the next tag: a multiple of 4 bytes, which the structure block begins at.
    fn align(&mut self) {
        // Within the file, or one tag behind it.
        self.offset = self.offset.next_multiple_of(4);
    }
}

/// The string at `offset`, up to its NUL.
fn string(file: &[u8], offset: usize) -> Result<&str, ParseError> {
    let rest = file.get(offset..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).ok_or(ParseError::Name { offset })?;
    core::str::from_utf8(&rest[..end]).map_err(|_| ParseError::Name { offset })
}
