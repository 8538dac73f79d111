//! Where a dump can go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Directory of the dumps where no other is named.
pub const DEFAULT_PATH: &str = "/var/crash";

/// A place for a dump. Its text is `KIND:WHERE`, as [`FromStr`] takes it: `xfs:UUID=…`,
/// `raw:PARTUUID=…`, `nfs:server:/export`, `ssh:user@host`. The rest are keys of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory on a block device's file system.
    Filesystem {
        /// The device.
        device: Device,
        /// What is on it.
        filesystem: Filesystem,
        /// Directory on the file system under which each dump gets its own.
        path: PathBuf,
    },
    /// A block device without file system.
    Raw {
        /// The device: a path or `PARTUUID=`; there is nothing on it that has another name.
        device: Device,
        /// Whether a file system that is found there may be destroyed.
        overwrite: bool,
    },
    /// A directory of an NFS server.
    Nfs {
        /// Name or address of the server.
        server: String,
        /// The exported directory.
        export: PathBuf,
        /// Directory below the export under which each dump gets its own.
        path: PathBuf,
        /// Mount options as in nfs(5), separated by commas; they come after ours and win.
        options: String,
    },
    /// A directory on a host with an SSH server.
    Ssh {
        /// The user there.
        user: String,
        /// Name or address of the host.
        host: String,
        /// TCP port.
        port: u16,
        /// Directory there under which each dump gets its own.
        path: PathBuf,
    },
}

impl Target {
    /// The target of `kind` (a file system, `raw`, `nfs` or `ssh`) at `place`.
    pub fn new(kind: &str, place: &str) -> Result<Self, &'static str> {
        let path = PathBuf::from(DEFAULT_PATH);
        match kind {
            "raw" => match place.parse()? {
                Device::Uuid(_) | Device::Label(_) => Err("raw:/dev/NAME or raw:PARTUUID="),
                device => Ok(Self::Raw { device, overwrite: false }),
            },
            "nfs" => {
                let expected = "nfs:SERVER:/DIRECTORY";
                let (server, export) = split_directory(place).ok_or(expected)?;
                if server.is_empty() {
                    return Err(expected);
                }
                let options = String::new();
                Ok(Self::Nfs { server: server.into(), export: export.into(), path, options })
            }
            "ssh" => {
                let expected = "ssh:USER@HOST or ssh:USER@HOST:/DIRECTORY";
                let (user, host) = place.split_once('@').ok_or(expected)?;
                let (host, path) = match split_directory(host) {
                    Some((host, directory)) => (host, directory.into()),
                    None => (host, path),
                };
                if user.is_empty() || host.is_empty() {
                    return Err(expected);
                }
                Ok(Self::Ssh { user: user.into(), host: host.into(), port: 22, path })
            }
            filesystem => Ok(Self::Filesystem {
                device: place.parse()?,
                filesystem: filesystem.parse()?,
                path,
            }),
        }
    }

    /// The directory of the dumps; a raw device has none.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Filesystem { path, .. } | Self::Nfs { path, .. } | Self::Ssh { path, .. } => {
                Some(path)
            }
            Self::Raw { .. } => None,
        }
    }

    /// As [`path`](Self::path), to change it.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Filesystem { path, .. } | Self::Nfs { path, .. } | Self::Ssh { path, .. } => {
                Some(path)
            }
            Self::Raw { .. } => None,
        }
    }

    /// The block device, if it is on this machine.
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Filesystem { device, .. } | Self::Raw { device, .. } => Some(device),
            Self::Nfs { .. } | Self::Ssh { .. } => None,
        }
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, place) =
            text.split_once(':').ok_or("KIND:WHERE, such as ext4:UUID=… or raw:/dev/NAME")?;
        Self::new(kind, place)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem { device, filesystem, .. } => {
                write!(f, "{}:{device}", filesystem.name())
            }
            Self::Raw { device, .. } => write!(f, "raw:{device}"),
            Self::Nfs { server, export, .. } => write!(f, "nfs:{server}:{}", export.display()),
            Self::Ssh { user, host, .. } => write!(f, "ssh:{user}@{host}"),
        }
    }
}

/// Server and directory. An address of IPv6 stands in brackets.
fn split_directory(place: &str) -> Option<(&str, &str)> {
    let at = place.find(":/")?;
    Some((&place[..at], &place[at + 1..]))
}

/// Which block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A device node.
    Path(PathBuf),
    /// The file system's UUID, lower case.
    Uuid(String),
    /// The file system's label.
    Label(String),
    /// The partition's UUID in a GPT, or `SIGNATURE-NN` in an MBR, lower case.
    PartUuid(String),
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let device = match text.split_once('=') {
            Some(("UUID", id)) => Self::Uuid(id.to_ascii_lowercase()),
            Some(("LABEL", label)) => Self::Label(label.to_owned()),
            Some(("PARTUUID", id)) => Self::PartUuid(id.to_ascii_lowercase()),
            Some(_) | None if text.starts_with("/dev/") => Self::Path(text.into()),
            Some(_) | None => return Err("/dev/NAME, UUID=, LABEL= or PARTUUID="),
        };
        if text.ends_with('=') { Err("a value after =") } else { Ok(device) }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Uuid(id) => write!(f, "UUID={id}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
            Self::PartUuid(id) => write!(f, "PARTUUID={id}"),
        }
    }
}

/// A file system that dumps can be saved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Second extended file system.
    Ext2,
    /// Third extended file system.
    Ext3,
    /// Fourth extended file system.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// FAT with long names.
    Vfat,
}

impl Filesystem {
    /// The kernel's name for it, as `mount` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
        }
    }
}

impl FromStr for Filesystem {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ext2" => Ok(Self::Ext2),
            "ext3" => Ok(Self::Ext3),
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            "btrfs" => Ok(Self::Btrfs),
            "vfat" => Ok(Self::Vfat),
            _ => Err("ext2, ext3, ext4, xfs, btrfs, vfat, raw, nfs or ssh"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_paths_or_tags() {
        assert_eq!("/dev/vda1".parse(), Ok(Device::Path("/dev/vda1".into())));
        assert_eq!("UUID=AB-cd".parse(), Ok(Device::Uuid("ab-cd".into())));
        assert_eq!("LABEL=A=B".parse(), Ok(Device::Label("A=B".into())));
        assert_eq!("PARTUUID=1234ABCD-01".parse(), Ok(Device::PartUuid("1234abcd-01".into())));
        for bad in ["", "vda", "UUID=", "ID=3", "LABEL="] {
            assert!(bad.parse::<Device>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn targets_say_what_they_are_first() {
        for text in [
            "ext4:/dev/vda1",
            "xfs:UUID=1-2",
            "vfat:LABEL=my disk:1",
            "raw:PARTUUID=1-02",
            "nfs:server:/dumps",
            "nfs:[fe80::1]:/dumps",
            "ssh:kdump@192.168.0.1",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "LABEL=x",
            "ntfs:/dev/sda1",
            "raw:LABEL=x",
            "nfs:server",
            "nfs::/x",
            "ssh:host",
            "ssh:@host",
            "ssh:user@:/x",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
        let with_directory = "ssh:kdump@[fe80::1]:/dumps".parse::<Target>().unwrap();
        assert_eq!(with_directory.path(), Some(Path::new("/dumps")));
        assert_eq!(with_directory.to_string(), "ssh:kdump@[fe80::1]");
    }
}
