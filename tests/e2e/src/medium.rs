//! Disks for dumps: every file system that dumps are saved on, with or without a partition table.
//! They are made and read with the file systems' own tools, and never mounted.

mod xfs;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capture::target::raw::trailer::{Part, Trailer};

use crate::process;

/// The UUID of the file system, and of the partition if there is one.
pub const UUID: &str = "6b64756d-7000-4000-8000-706972677461";
/// The number that FAT has in place of a UUID.
pub const FAT_NUMBER: &str = "6b64-756d";
/// The file system's label.
pub const LABEL: &str = "dumps";
/// Where dumps are on the file system.
const DUMPS: &str = "/var/crash";
/// Where the partition begins, in bytes.
const PARTITION: u64 = 1 << 20;
/// What the partition table's backup needs behind the partition, in bytes.
const TABLE_END: u64 = 1 << 20;

/// A disk that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image or folder cannot be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] process::Error),
    /// A tool's answer is not what it says to others.
    #[error("`{tool}` says {answer:?}, of which nothing is known")]
    Answer {
        /// The tool.
        tool: &'static str,
        /// What it said.
        answer: String,
    },
}

/// What is on a disk, or on its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeroes.
    Blank,
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// FAT.
    Vfat,
}

/// What a disk hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// A controller of its own: /dev/vda.
    Virtio,
    /// A SCSI controller, with the kernel's drivers for SCSI: /dev/sda.
    Scsi,
}

/// Writes that fail: from a mebibyte on, each to the first sector of a mebibyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The first mebibyte.
    pub from: u64,
    /// What they fail with: a number of errno(3).
    pub errno: u8,
}

/// The medium is broken.
pub const EIO: u8 = 5;
/// A disk that is provisioned thinly has no more blocks; a SCSI disk says so.
pub const ENOSPC: u8 = 28;

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// What is on it.
    pub content: Content,
    /// How large the file system is.
    pub mebibytes: u64,
    /// Whether it is the only partition of a GPT.
    pub partitioned: bool,
    /// More options of QEMU's `-drive`, each with a comma before it.
    pub drive: &'static str,
    /// What it hangs on.
    pub bus: Bus,
    /// Writes that fail.
    pub bad: Option<Bad>,
}

/// A disk without partitions and of room for an unfiltered dump of a small machine.
pub const fn whole(content: Content) -> Medium {
    let bus = Bus::Virtio;
    Medium { content, mebibytes: 640, partitioned: false, drive: "", bus, bad: None }
}

impl Medium {
    /// Makes the disk at `image`, with the content of the host's folder `dumps` as its dumps, if
    /// there is one: only on ext4.
    pub fn make(&self, image: &Path, dumps: Option<&Path>) -> Result<(), Error> {
        let size = self.mebibytes << 20;
        if !self.partitioned {
            sized(image, size)?;
            return self.content.make(image, dumps);
        }
        let filesystem = image.with_extension("partition");
        sized(&filesystem, size)?;
        self.content.make(&filesystem, dumps)?;
        sized(image, PARTITION + size + TABLE_END)?;
        make_table(image, size)?;
        copy(&filesystem, 0, image, PARTITION, size)?;
        remove(&filesystem)
    }

    /// QEMU's arguments for the disk at `image`, the machine's disk of this `number`.
    pub fn arguments(&self, number: usize, image: &Path) -> Result<Vec<String>, Error> {
        let file = self.file(image)?;
        let drive =
            format!("id=d{number},if=none,format=raw,cache=unsafe,file={file}{}", self.drive);
        // The guest is to see errors, and QEMU not to stop.
        let devices = match self.bus {
            Bus::Virtio => vec![format!("virtio-blk-pci,drive=d{number},werror=report")],
            Bus::Scsi => vec![
                format!("virtio-scsi-pci,id=s{number}"),
                format!("scsi-hd,bus=s{number}.0,drive=d{number},werror=report"),
            ],
        };
        let devices = devices.into_iter().flat_map(|device| ["-device".to_owned(), device]);
        Ok(["-drive".to_owned(), drive].into_iter().chain(devices).collect())
    }

    /// The value of `-drive`'s option `file`.
    fn file(&self, image: &Path) -> Result<String, Error> {
        let Some(Bad { from, errno }) = self.bad else { return Ok(image.display().to_string()) };
        // QEMU docs/devel/blkdebug.rst: sectors of 512 bytes.
        let rule = |mebibyte: u64| {
            let sector = mebibyte << 11;
            format!(
                "[inject-error]\nevent = \"write_aio\"\nerrno = \"{errno}\"\nsector = \"{sector}\"\n"
            )
        };
        let rules: String = (from..self.mebibytes).map(rule).collect();
        let config = image.with_extension("errors");
        fs::write(&config, rules).map_err(failed(&config))?;
        Ok(format!("blkdebug:{}:{}", config.display(), image.display()))
    }

    /// Copies all dumps to the host's folder `to`, which is made.
    pub fn extract(&self, image: &Path, to: &Path) -> Result<(), Error> {
        fs::create_dir_all(to).map_err(failed(to))?;
        if !self.partitioned {
            return self.content.extract(image, to);
        }
        let filesystem = image.with_extension("partition");
        copy(image, PARTITION, &filesystem, 0, self.mebibytes << 20)?;
        self.content.extract(&filesystem, to)?;
        remove(&filesystem)
    }
}

impl Content {
    fn make(self, image: &Path, dumps: Option<&Path>) -> Result<(), Error> {
        let mut command = match self {
            Self::Blank => return Ok(()),
            Self::Ext4 => {
                let mut command = tool("mke2fs");
                command.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-L", LABEL]);
                if let Some(dumps) = dumps {
                    command.arg("-d").arg(dumps);
                }
                command
            }
            Self::Xfs => {
                let mut command = tool("mkfs.xfs");
                command.args(["-q", "-f", "-L", LABEL, "-m", &format!("uuid={UUID}")]);
                command
            }
            Self::Btrfs => {
                let mut command = tool("mkfs.btrfs");
                command.args(["-q", "-f", "-L", LABEL, "-U", UUID]);
                command
            }
            Self::Vfat => {
                let mut command = tool("mkfs.vfat");
                command.args(["-n", LABEL, "-i", &FAT_NUMBER.replace('-', "")]);
                command
            }
        };
        Ok(process::output(command.arg(image)).map(drop)?)
    }

    fn extract(self, image: &Path, to: &Path) -> Result<(), Error> {
        match self {
            Self::Blank => raw(image, &to.join("raw")),
            Self::Ext4 => {
                // The journal is replayed, as a mount would; 1 says that something was corrected.
                let repaired = tool("e2fsck")
                    .args(["-f", "-y"])
                    .arg(image)
                    .stdout(Stdio::null())
                    .status()
                    .map_err(failed(image))?;
                if !matches!(repaired.code(), Some(0 | 1)) {
                    return Err(Error::Answer { tool: "e2fsck", answer: repaired.to_string() });
                }
                let request = format!("rdump {DUMPS} {}", to.display());
                process::output(tool("debugfs").args(["-R", &request]).arg(image))?;
                lift(&to.join("crash"), to)
            }
            Self::Xfs => xfs::extract(image, DUMPS, to),
            Self::Btrfs => {
                process::output(tool("btrfs").arg("restore").arg(image).arg(to))?;
                lift(&to.join("var/crash"), to)
            }
            Self::Vfat => {
                let from = format!("::{DUMPS}");
                process::output(
                    tool("mcopy").args(["-s", "-n", "-i"]).arg(image).arg(from).arg(to),
                )?;
                lift(&to.join("crash"), to)
            }
        }
    }
}

/// Makes of the dump on a raw device, and of what belongs to it, the files that they are elsewhere.
fn raw(image: &Path, to: &Path) -> Result<(), Error> {
    let device = File::open(image).map_err(failed(image))?;
    let size = device.metadata().map_err(failed(image))?.len();
    let Some(trailer) = Trailer::read(&device, size).map_err(failed(image))? else {
        return Ok(());
    };
    fs::create_dir_all(to).map_err(failed(to))?;
    copy(image, 0, &to.join("vmcore"), 0, trailer.dump_bytes)?;
    let parts = [
        (Part::Log, "vmcore-dmesg.txt"),
        (Part::Manifest, "manifest.json"),
        (Part::Journal, "kdump.log"),
    ];
    for (part, name) in parts {
        let bytes = trailer.part(part, &device).map_err(failed(image))?;
        fs::write(to.join(name), bytes).map_err(failed(to))?;
    }
    // Readers open the device as it is.
    fs::hard_link(image, to.join("device")).map_err(failed(to))
}

/// A GPT with one partition from [`PARTITION`] on.
fn make_table(image: &Path, size: u64) -> Result<(), Error> {
    let script =
        format!("label: gpt\nstart={}, size={}, uuid={UUID}\n", PARTITION / 512, size / 512);
    let mut child =
        tool("sfdisk").arg("-q").arg(image).stdin(Stdio::piped()).spawn().map_err(failed(image))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(failed(image))?;
    }
    let status = child.wait().map_err(failed(image))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Answer { tool: "sfdisk", answer: status.to_string() })
}

/// A sparse file of zeroes.
fn sized(path: &Path, size: u64) -> Result<(), Error> {
    File::create(path).and_then(|file| file.set_len(size)).map_err(failed(path))
}

/// Copies bytes of one file to a place in another, which becomes at least so long.
fn copy(from: &Path, at: u64, to: &Path, place: u64, length: u64) -> Result<(), Error> {
    let mut source = File::open(from).map_err(failed(from))?;
    source.seek(SeekFrom::Start(at)).map_err(failed(from))?;
    let mut target =
        OpenOptions::new().write(true).create(true).truncate(false).open(to).map_err(failed(to))?;
    target.seek(SeekFrom::Start(place)).map_err(failed(to))?;
    io::copy(&mut source.take(length), &mut target).map(drop).map_err(failed(to))
}

/// Moves what is in `from` up to `to`, and removes `from`. What is not there is an empty folder.
fn lift(from: &Path, to: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(failed(from))?;
        fs::rename(entry.path(), to.join(entry.file_name())).map_err(failed(from))?;
    }
    fs::remove_dir(from).map_err(failed(from))
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path: path.clone(), source }
}

/// A program of the system's.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", kdump::search_path::with_sbin());
    command
}
