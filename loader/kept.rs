//! Unpacked kernels that are kept on disk, so that only the first load of a kernel unpacks it.
//!
//! A kept kernel is a file in a directory that only its owner can write to. The unpacked bytes
//! begin at offset 0, so that the file is a vmlinux for every other tool too; a trailer behind them
//! says what they were unpacked from and what their checksum is. Neither a stale nor a damaged copy
//! is ever taken: a kernel's bytes, not its name or its times, decide which copy is its own, and
//! the copy's bytes are checked at every load.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::vec::Vec;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::file::{FileError, InputFile};

/// Where kernels are kept: a cache by the FHS, whose loss costs time and nothing else.
pub const DIRECTORY: &str = "/var/cache/purgatorio";

/// The most kernels that are kept: the running one, the one before, and the next.
pub const MOST: usize = 3;

/// What tells packed kernels apart.
///
/// Length and CRC-32 of all bytes, and the last bytes as they are. In XZ and gzip data these hold
/// the format's own checksum of what comes out, so that two kernels that are confused would have to
/// agree in two independent checksums and three lengths. Times and inode numbers are left out: they
/// change when nothing has changed (a restored backup, a vfat file system) and may stay when
/// something has. A cryptographic digest would cost as much as half of the rest of a load, and
/// protect from nobody: who can write the kernel or the copy is root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    length: u64,
    crc32: u32,
    last: [u8; LAST],
}

/// Enough for an XZ footer, the index before it, and the block's checksum before that.
const LAST: usize = 48;

impl Identity {
    /// Of the packed bytes.
    pub fn of(packed: &[u8]) -> Self {
        let mut last = [0; LAST];
        for (to, from) in last.iter_mut().rev().zip(packed.iter().rev()) {
            *to = *from;
        }
        Self { length: packed.len() as u64, crc32: crc32fast::hash(packed), last }
    }

    fn file_name(&self) -> String {
        format!("{:08x}-{:x}{SUFFIX}", self.crc32, self.length)
    }
}

const SUFFIX: &str = ".vmlinux";
/// What is being written has this name until it is complete.
const INCOMPLETE: &str = "incomplete";

/// A directory with kept kernels.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// A kept kernel; dereferences to the unpacked bytes, which have been checked.
#[derive(Debug)]
pub struct Kept {
    file: InputFile,
    length: usize,
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[..self.length]
    }
}

impl Store {
    /// The kernels in `directory`, which need not exist.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The copy of the kernel that `identity` is of, or `None` if there is none.
    pub fn find(&self, identity: &Identity) -> Result<Option<Kept>, KeptError> {
        if self.open_directory()?.is_none() {
            return Ok(None);
        }
        let path = self.path(identity);
        let file = match InputFile::open(&path) {
            Ok(file) => file,
            Err(FileError::Missing { .. }) => return Ok(None),
            Err(FileError::Empty { .. }) => {
                return Err(KeptError::Damaged { path, what: "it is empty" });
            }
            Err(source) => return Err(KeptError::Open { source }),
        };
        match Trailer::check(&file, identity) {
            Ok(length) => Ok(Some(Kept { file, length })),
            Err(what) => Err(KeptError::Damaged { path, what }),
        }
    }

    /// Keeps `unpacked` as the copy of the kernel that `identity` is of, and returns its path. It
    /// replaces a damaged one; of too many, the oldest are removed.
    ///
    /// After a crash or a power cut at any moment either the whole copy is there or none.
    pub fn keep(&self, identity: &Identity, unpacked: &[u8]) -> Result<PathBuf, KeptError> {
        self.make_directory()?;
        let Some(directory) = self.open_directory()? else {
            return Err(self.failed(io::ErrorKind::NotFound.into()));
        };
        // One at a time: `incomplete` is then nobody else's.
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| self.failed(errno.into()))?;
        let incomplete = self.directory.join(INCOMPLETE);
        let path = self.path(identity);
        let written = write(&incomplete, unpacked, &Trailer::new(identity, unpacked))
            .and_then(|()| fs::rename(&incomplete, &path))
            .and_then(|()| directory.sync_all());
        written.map_err(|source| {
            // It takes space that others may need; if it cannot be removed either, the next
            // `keep` overwrites it.
            let _ = fs::remove_file(&incomplete);
            KeptError::Write { path: path.clone(), source }
        })?;
        self.remove_oldest().map_err(|source| self.failed(source))?;
        Ok(path)
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        self.directory.join(identity.file_name())
    }

    fn make_directory(&self) -> Result<(), KeptError> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The directory, if it exists, and nobody else can write to it.
    fn open_directory(&self) -> Result<Option<File>, KeptError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        let directory = match options.open(&self.directory) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let metadata = directory.metadata().map_err(|error| self.failed(error))?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if owner != geteuid().as_raw() || mode & 0o022 != 0 {
            let directory = self.directory.clone();
            return Err(KeptError::NotTrusted { directory, owner, mode });
        }
        Ok(Some(directory))
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
                kept.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        kept.sort();
        let too_many = kept.len().saturating_sub(MOST);
        kept.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn failed(&self, source: io::Error) -> KeptError {
        KeptError::Directory { directory: self.directory.clone(), source }
    }
}

fn write(path: &Path, unpacked: &[u8], trailer: &Trailer) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(unpacked)?;
    file.write_all(&trailer.bytes())?;
    file.sync_all()
}

/// What is behind the unpacked bytes. Numbers are little-endian on every machine.
struct Trailer {
    identity: Identity,
    unpacked_length: u64,
    unpacked_crc32: u32,
}

/// The last character is the format's version.
const MAGIC: [u8; 16] = *b"purgatorio-kept1";
const TRAILER: usize = MAGIC.len() + 8 + 4 + LAST + 8 + 4;

impl Trailer {
    fn new(identity: &Identity, unpacked: &[u8]) -> Self {
        Self {
            identity: identity.clone(),
            unpacked_length: unpacked.len() as u64,
            unpacked_crc32: crc32fast::hash(unpacked),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Identity { length, crc32, last } = &self.identity;
        [
            &MAGIC[..],
            &length.to_le_bytes(),
            &crc32.to_le_bytes(),
            last,
            &self.unpacked_length.to_le_bytes(),
            &self.unpacked_crc32.to_le_bytes(),
        ]
        .concat()
    }

    /// How many bytes of `file` are the unpacked kernel that `identity` asks for, or what is wrong
    /// with it.
    fn check(file: &[u8], identity: &Identity) -> Result<usize, &'static str> {
        let (unpacked, trailer) = file.split_last_chunk::<TRAILER>().ok_or("it is cut short")?;
        if !trailer.starts_with(&MAGIC) {
            return Err("it does not end in its trailer");
        }
        if *trailer != *Self::new(identity, unpacked).bytes() {
            return Err("its length or its checksum is not what it was");
        }
        Ok(unpacked.len())
    }
}

/// Why a kernel is not kept, or a kept one cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The directory cannot be made, read or locked.
    #[error("{}: cannot be used for unpacked kernels", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others than the user of this program could put a kernel there.
    #[error(
        "{}: belongs to user {owner} and has mode {mode:04o}; an unpacked kernel is taken only from \
         a directory that nobody but the user who loads it can write to: chown it, and chmod go-w",
        directory.display()
    )]
    NotTrusted {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A copy cannot be read.
    #[error(transparent)]
    Open {
        /// Why.
        source: FileError,
    },
    /// A copy is not what was written.
    #[error("{}: this kept kernel is damaged: {what}", path.display())]
    Damaged {
        /// The copy.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A copy cannot be written.
    #[error("{}: the unpacked kernel cannot be kept", path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use super::*;

    const PACKED: &[u8] =
        b"a packed kernel, of which the last bytes are the checksum of its format";
    const UNPACKED: &[u8] = b"\x7fELF and all the rest of the kernel";

    fn store() -> (TempDir, Store) {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::at(&scratch.path().join("kept"));
        (scratch, store)
    }

    #[test]
    fn what_is_kept_is_found() {
        let (_scratch, store) = store();
        let identity = Identity::of(PACKED);
        assert!(store.find(&identity).unwrap().is_none());
        let path = store.keep(&identity, UNPACKED).unwrap();
        assert_eq!(&**store.find(&identity).unwrap().as_ref().unwrap(), UNPACKED);
        assert!(fs::read(&path).unwrap().starts_with(UNPACKED));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&store.directory).unwrap().mode() & 0o777, 0o700);
        // Keeping it again does no harm.
        store.keep(&identity, UNPACKED).unwrap();
        assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 1);
    }

    #[test]
    fn every_changed_byte_is_another_kernel() {
        let identity = Identity::of(PACKED);
        for index in 0..PACKED.len() {
            let mut other = PACKED.to_vec();
            other[index] ^= 1;
            assert_ne!(Identity::of(&other), identity, "byte {index}");
            assert_ne!(Identity::of(&PACKED[..index]), identity, "{index} bytes");
        }
    }

    #[test]
    fn a_copy_of_another_kernel_is_not_taken() {
        let (_scratch, store) = store();
        let (old, new) = (Identity::of(PACKED), Identity::of(b"a new kernel"));
        let path = store.keep(&old, UNPACKED).unwrap();
        // As if length and CRC-32 were the same, and so the name.
        fs::rename(path, store.path(&new)).unwrap();
        assert!(matches!(store.find(&new), Err(KeptError::Damaged { .. })));
    }

    #[test]
    fn damage_is_found_wherever_it_is_and_repaired_by_keeping() {
        let (_scratch, store) = store();
        let identity = Identity::of(PACKED);
        let path = store.keep(&identity, UNPACKED).unwrap();
        let good = fs::read(&path).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            fs::write(&path, bad).unwrap();
            let found = store.find(&identity);
            assert!(matches!(found, Err(KeptError::Damaged { .. })), "byte {index}: {found:?}");
            fs::write(&path, &good[..index]).unwrap();
            let found = store.find(&identity);
            assert!(matches!(found, Err(KeptError::Damaged { .. })), "{index} bytes: {found:?}");
        }
        store.keep(&identity, UNPACKED).unwrap();
        assert!(store.find(&identity).unwrap().is_some());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_trusted() {
        let (_scratch, store) = store();
        let identity = Identity::of(PACKED);
        store.keep(&identity, UNPACKED).unwrap();
        for mode in [0o770, 0o707, 0o777] {
            fs::set_permissions(&store.directory, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(store.find(&identity), Err(KeptError::NotTrusted { .. })));
            assert!(matches!(store.keep(&identity, UNPACKED), Err(KeptError::NotTrusted { .. })));
        }
    }

    #[test]
    fn neither_a_link_nor_a_file_is_taken_for_the_directory() {
        let (scratch, store) = store();
        let identity = Identity::of(PACKED);
        store.keep(&identity, UNPACKED).unwrap();
        let link = scratch.path().join("link");
        symlink(&store.directory, &link).unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [link, file] {
            let store = Store::at(&path);
            assert!(matches!(store.find(&identity), Err(KeptError::Directory { .. })));
            assert!(matches!(store.keep(&identity, UNPACKED), Err(KeptError::Directory { .. })));
        }
    }

    #[test]
    fn what_a_crash_left_is_overwritten() {
        let (_scratch, store) = store();
        let identity = Identity::of(PACKED);
        store.make_directory().unwrap();
        fs::write(store.directory.join(INCOMPLETE), vec![0; 4096]).unwrap();
        store.keep(&identity, UNPACKED).unwrap();
        assert!(store.find(&identity).unwrap().is_some());
        assert!(!store.directory.join(INCOMPLETE).exists());
    }

    #[test]
    fn two_do_not_write_at_once() {
        let (_scratch, store) = store();
        let identity = Identity::of(PACKED);
        store.make_directory().unwrap();
        let other = store.open_directory().unwrap().unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(matches!(store.keep(&identity, UNPACKED), Err(KeptError::Directory { .. })));
        drop(other);
        store.keep(&identity, UNPACKED).unwrap();
    }

    #[test]
    fn the_newest_are_kept() {
        let (_scratch, store) = store();
        let identities = [0, 1, 2, 3, 4].map(|number| Identity::of(&[number]));
        for (identity, age) in identities.iter().zip([5, 4, 3, 2, 1]) {
            let path = store.keep(identity, UNPACKED).unwrap();
            let kept = File::open(path).unwrap();
            kept.set_modified(SystemTime::now() - Duration::from_secs(60 * age)).unwrap();
        }
        let is_kept = |identity| store.find(identity).unwrap().is_some();
        assert_eq!(identities.each_ref().map(is_kept), [false, false, true, true, true]);
    }
}
