//! Reads cpio archives as the kernel does (kernel 6.1 init/initramfs.c; the format is described in
//! Documentation/driver-api/early-userspace/buffer-format.rst).

/// The magic numbers of the `newc` format, without and with checksums.
const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];
/// The magic number and 13 fields of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;
/// The name of the entry behind the last one.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Everything is aligned to this.
const ALIGNMENT: usize = 4;

/// An archive that cannot be read. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No entry begins where one should.
    #[error("no cpio entry of the newc format at offset {offset:#x}")]
    Magic {
        /// Where one was expected.
        offset: usize,
    },
    /// A field is no hexadecimal number.
    #[error("the cpio entry at offset {offset:#x} has a field that is no number")]
    Field {
        /// Where the entry begins.
        offset: usize,
    },
    /// The archive ends inside an entry, or without its trailer.
    #[error("the cpio archive is truncated: its entry at offset {offset:#x} is incomplete")]
    Truncated {
        /// Where the entry begins.
        offset: usize,
    },
}

/// An entry of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path without `/` or `./` at the beginning.
    pub path: &'a [u8],
    /// `st_mode`: type and permissions.
    pub mode: u32,
    /// What the names of one file have in common: device and inode.
    pub file: (u32, u32, u32),
    /// How many names the file has.
    pub links: u32,
    /// A file's content, or a link's target. Of a file with several names, one entry has it.
    pub data: &'a [u8],
}

/// The entries of the archive that `bytes` begin with.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    /// Where the next entry begins; behind the trailer at the end.
    pub position: usize,
    ended: bool,
}

impl<'a> Entries<'a> {
    /// Begins with the first one.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, ended: false }
    }

    /// The entry at the position; `None` for the trailer.
    fn read(&mut self) -> Result<Option<Entry<'a>>, Error> {
        let offset = self.position;
        let truncated = Error::Truncated { offset };
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty()).ok_or(truncated)?;
        if !MAGICS.iter().any(|magic| rest.starts_with(magic)) {
            return Err(Error::Magic { offset });
        }
        let header = rest.get(..HEADER).ok_or(truncated)?;
        let field = |number: usize| {
            let digits = &header[6 + number * 8..][..8];
            let text = std::str::from_utf8(digits).map_err(|_| Error::Field { offset })?;
            u32::from_str_radix(text, 16).map_err(|_| Error::Field { offset })
        };
        let length = |number| usize::try_from(field(number)?).map_err(|_| truncated);
        let (ino, mode, links) = (field(0)?, field(1)?, field(4)?);
        let (major, minor) = (field(7)?, field(8)?);
        let name_end = HEADER.checked_add(length(11)?).ok_or(truncated)?;
        let data_start = name_end.checked_next_multiple_of(ALIGNMENT).ok_or(truncated)?;
        let data_end = data_start.checked_add(length(6)?).ok_or(truncated)?;
        let name = rest.get(HEADER..name_end).ok_or(truncated)?;
        let data = rest.get(data_start..data_end).ok_or(truncated)?;
        let end = data_end.checked_next_multiple_of(ALIGNMENT).ok_or(truncated)?;
        // Only the padding behind the last entry may be missing.
        self.position = offset.saturating_add(end).min(self.bytes.len());
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name == TRAILER {
            return Ok(None);
        }
        let file = (major, minor, ino);
        Ok(Some(Entry { path: relative(name), mode, file, links, data }))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.read().transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}

/// The kernel unpacks at `/`, so `init`, `./init` and `/init` are the same.
fn relative(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"./")) {
        path = rest;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initramfs::Initramfs;

    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = Initramfs::new();
        archive.file("bin/x", 0o755, *b"12345").symlink("init", "bin/x");
        archive.write_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = archive();
        let with_more = [&bytes[..], b"more"].concat();
        let mut entries = Entries::of(&with_more);
        let seen: Vec<_> = entries
            .by_ref()
            .map(|entry| entry.map(|entry| (entry.path, entry.mode, entry.data)).unwrap())
            .collect();
        assert_eq!(
            seen,
            [
                (&b"bin"[..], 0o040_755, &b""[..]),
                (b"bin/x", 0o100_755, b"12345"),
                (b"init", 0o120_777, b"bin/x"),
            ]
        );
        assert_eq!(entries.position, bytes.len());
    }

    #[test]
    fn names_may_begin_at_the_root_or_here() {
        for name in [&b"init"[..], b"/init", b"./init", b".//./init"] {
            assert_eq!(relative(name), b"init");
        }
        assert_eq!(relative(b".init"), b".init");
    }

    #[test]
    fn truncated_and_damaged_archives_are_refused_and_never_panic() {
        let bytes = archive();
        for length in 0..bytes.len() - 3 {
            let last = Entries::of(&bytes[..length]).last().unwrap();
            assert!(last.is_err(), "cut at {length}");
        }
        for offset in 0..bytes.len() {
            let mut damaged = bytes.clone();
            for value in [0, b'f', 0xff] {
                damaged[offset] = value;
                // It may also read as something else.
                let _ = Entries::of(&damaged).filter_map(Result::err).count();
            }
        }
        let mut damaged = bytes.clone();
        damaged[6] = b'g';
        assert_eq!(Entries::of(&damaged).next(), Some(Err(Error::Field { offset: 0 })));
        damaged[0] = b'1';
        assert_eq!(Entries::of(&damaged).next(), Some(Err(Error::Magic { offset: 0 })));
    }
}
