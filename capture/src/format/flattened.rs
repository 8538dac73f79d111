//! The flattened form of a dump, which can go through a pipe: pieces of the file in the order in
//! which they were written (makedumpfile 1.7.2, IMPLEMENTATION, makedumpfile.h). Numbers are
//! big-endian.

/// What the stream starts with.
pub const SIGNATURE: &[u8; 12] = b"makedumpfile";

/// Size of the stream's header, padding included.
pub const HEADER_SIZE: usize = 4096;

/// Its type and its version.
const TYPE: u64 = 1;
const VERSION: u64 = 1;

/// The header.
pub fn header() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.resize(16, 0);
    bytes.extend(TYPE.to_be_bytes());
    bytes.extend(VERSION.to_be_bytes());
    bytes.resize(HEADER_SIZE, 0);
    bytes
}

/// What stands before each piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where in the file the piece belongs; negative after the last one.
    pub offset: i64,
    /// Its size in bytes.
    pub size: i64,
}

impl Record {
    /// Bytes of a record in the stream.
    pub const SIZE: usize = 16;

    /// What stands after the last piece.
    pub const END: Self = Self { offset: -1, size: -1 };

    /// Reads one.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            offset: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size: i64::from_be_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// Its bytes.
    pub fn encode(self) -> Vec<u8> {
        [self.offset.to_be_bytes(), self.size.to_be_bytes()].concat()
    }
}
