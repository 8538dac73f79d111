//! The scratch disk: an image file that the capture image takes for its target, made without root
//! and without mounting anything.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capture::config::Filesystem;

use super::shape::{Partition, Shape, Table};
use crate::search_path;

/// Where the partition begins, and how much room is left after it, in bytes: the customary start,
/// and more than a backup GPT takes.
const MARGIN: u64 = 1 << 20;

/// Bytes of a sector, in which sfdisk counts.
const SECTOR: u64 = 512;

/// A scratch disk that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is missing.
    #[error(
        "{program} is needed to make the scratch disk and is not installed: as root, run\n    \
         apt-get install {package}"
    )]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package with it.
        package: &'static str,
    },
    /// A program failed.
    #[error("{program} cannot make the scratch disk: {output}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it wrote to its standard error.
        output: String,
    },
    /// The image cannot be written.
    #[error("cannot write the scratch disk {}", path.display())]
    Write {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Makes the disk of `shape` at `path` with room for `room` bytes; the file is sparse.
/// `filesystem` is `None` for a raw target.
pub fn create(
    path: &Path,
    shape: &Shape,
    filesystem: Option<Filesystem>,
    room: u64,
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    // Multiples of a MiB, as partitions are.
    let room = room.next_multiple_of(MARGIN);
    let Some(partition) = &shape.partition else {
        sparse(path, room).map_err(failed)?;
        return filesystem.map_or(Ok(()), |filesystem| format(path, shape, filesystem));
    };
    sparse(path, room + 2 * MARGIN).map_err(failed)?;
    let script = partition_script(partition, room);
    run("sfdisk", "fdisk", Command::new("sfdisk").arg("--quiet").arg(path), script.as_bytes())?;
    let Some(filesystem) = filesystem else { return Ok(()) };
    // No program makes every file system inside a partition of a file, so it is made in a file of
    // its own.
    let alone = path.with_extension("partition");
    sparse(&alone, room).map_err(failed)?;
    format(&alone, shape, filesystem)?;
    copy_into(&alone, path, MARGIN).map_err(failed)?;
    fs::remove_file(&alone).map_err(failed)
}

/// What sfdisk(8) reads: the kind of table, then one line for the partition.
fn partition_script(Partition { number, table }: &Partition, room: u64) -> String {
    let place = format!("start={}, size={}", MARGIN / SECTOR, room / SECTOR);
    match table {
        Table::Gpt(None) => format!("label: gpt\n{number} : {place}\n"),
        Table::Gpt(Some(id)) => format!("label: gpt\n{number} : {place}, uuid={id}\n"),
        Table::Mbr(signature) => {
            format!("label: dos\nlabel-id: 0x{signature}\n{number} : {place}\n")
        }
    }
}

/// Makes the file system in the whole of `image`.
fn format(image: &Path, shape: &Shape, filesystem: Filesystem) -> Result<(), Error> {
    let (program, package) = match filesystem {
        Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => ("mke2fs", "e2fsprogs"),
        Filesystem::Xfs => ("mkfs.xfs", "xfsprogs"),
        Filesystem::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        Filesystem::Vfat => ("mkfs.vfat", "dosfstools"),
    };
    let mut command = Command::new(program);
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.args([name, &value]);
        }
    };
    let (uuid, label) = (shape.uuid.clone(), shape.label.clone());
    match filesystem {
        Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => {
            option("-t", Some(filesystem.name().to_owned()));
            option("-U", uuid);
            option("-L", label);
            command.args(["-q", "-F"]);
        }
        Filesystem::Xfs => {
            option("-m", uuid.map(|id| format!("uuid={id}")));
            option("-L", label);
            command.args(["-q", "-f"]);
        }
        Filesystem::Btrfs => {
            option("-U", uuid);
            option("-L", label);
            command.args(["-q", "-f"]);
        }
        Filesystem::Vfat => {
            option("-i", uuid.map(|id| id.replace('-', "")));
            option("-n", label);
        }
    }
    run(program, package, command.arg(image), b"")
}

fn run(
    program: &'static str,
    package: &'static str,
    command: &mut Command,
    input: &[u8],
) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { program, package },
        _ => Error::Failed { program, output: source.to_string() },
    };
    let mut child = command
        .env("PATH", search_path::with_sbin())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // A program that ends without reading it has its own reason to tell.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { program, output })
}

/// An empty file of `size` bytes that takes no room on the disk.
pub fn sparse(path: &Path, size: u64) -> io::Result<()> {
    File::create(path)?.set_len(size)
}

/// Copies what is not zero of `from` into `to` at `offset`.
fn copy_into(from: &Path, to: &Path, offset: u64) -> io::Result<()> {
    const CHUNK: usize = 1 << 16;
    let mut source = File::open(from)?;
    let target = File::options().write(true).open(to)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        // A new file system is nearly all holes.
        let position = source.stream_position()?;
        let at = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(position)) {
            Ok(at) => at,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let length = source.read(&mut chunk)?;
        target.write_all_at(&chunk[..length], offset + at)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str, filesystem: Option<Filesystem>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let shape = Shape::of(&device.parse().unwrap()).unwrap();
        create(&path, &shape, filesystem, 8 << 20).unwrap();
        fs::read(&path).unwrap()
    }

    fn bytes(disk: &[u8], at: usize, length: usize) -> &[u8] {
        &disk[at..at + length]
    }

    /// Where the ext4 super block has its magic number, its UUID and its label
    /// (fs/ext4/ext4.h, Linux 6.1).
    const SUPER_BLOCK: usize = 1024;

    #[test]
    fn a_file_system_has_the_wanted_tags() {
        let labelled = disk("LABEL=dumps", Some(Filesystem::Ext4));
        assert_eq!(bytes(&labelled, SUPER_BLOCK + 56, 2), [0x53, 0xef]);
        assert_eq!(bytes(&labelled, SUPER_BLOCK + 120, 6), *b"dumps\0");
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        let named = disk(&format!("UUID={uuid}"), Some(Filesystem::Ext2));
        assert_eq!(bytes(&named, SUPER_BLOCK + 104, 4), [0, 0x11, 0x22, 0x33]);
    }

    #[test]
    fn a_partition_has_the_wanted_number_and_id() {
        // UEFI 2.10, section 5.3: entries from sector 2 on, of 128 bytes, with the partition's
        // GUID (its first three fields little-endian) at 16 and its first sector at 32.
        let guid = "00112233-4455-6677-8899-aabbccddeeff";
        let gpt = disk(&format!("PARTUUID={guid}"), Some(Filesystem::Ext4));
        assert_eq!(bytes(&gpt, 1024 + 16, 4), [0x33, 0x22, 0x11, 0]);
        assert_eq!(bytes(&gpt, 1024 + 32, 2), [0, 8]);
        assert_eq!(bytes(&gpt, (1 << 20) + SUPER_BLOCK + 56, 2), [0x53, 0xef]);
        let third = disk("/dev/sda3", None);
        assert_eq!(bytes(&third, 1024 + 32, 2), [0, 0]);
        assert_eq!(bytes(&third, 1024 + 2 * 128 + 32, 2), [0, 8]);
        // The signature of an MBR is at 440, its entries of 16 bytes at 446.
        let mbr = disk("PARTUUID=1234abcd-02", None);
        assert_eq!(bytes(&mbr, 440, 4), [0xcd, 0xab, 0x34, 0x12]);
        assert_eq!(bytes(&mbr, 446 + 16 + 8, 2), [0, 8]);
    }
}
