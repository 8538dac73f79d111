//! The cases.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::{Case, Expected, Fault};
use crate::medium::{Bad, Bus, Content, EIO, ENOSPC, Medium, whole};
use crate::qemu::End;

const SAVED: Expected = Expected::Saved { disk: 0, log: true };

/// ext4 on the first disk, found by its label, and nothing goes wrong.
const EXT4: Case = Case {
    media: &[whole(Content::Ext4)],
    targets: &[("ext4", "LABEL=dumps")],
    options: &[],
    crashkernel: None,
    qemu: &[],
    fault: Fault::None,
    says: &["kdump: saving to ", "kdump: saved /var/crash/", "kdump: rebooting"],
    expected: SAVED,
};

/// A partition, by the UUID that the table has for it.
pub const PARTUUID: Case = Case {
    media: &[Medium { partitioned: true, ..whole(Content::Ext4) }],
    targets: &[("ext4", "PARTUUID=6b64756d-7000-4000-8000-706972677461")],
    ..EXT4
};

/// XFS by UUID.
pub const XFS: Case = Case {
    media: &[whole(Content::Xfs)],
    targets: &[("xfs", "UUID=6b64756d-7000-4000-8000-706972677461")],
    ..EXT4
};

/// Btrfs by label.
pub const BTRFS: Case =
    Case { media: &[whole(Content::Btrfs)], targets: &[("btrfs", "LABEL=dumps")], ..EXT4 };

/// FAT by the number that it has in place of a UUID.
pub const VFAT: Case =
    Case { media: &[whole(Content::Vfat)], targets: &[("vfat", "UUID=6B64-756D")], ..EXT4 };

/// A partition without file system.
pub const RAW: Case = Case {
    media: &[Medium { partitioned: true, ..whole(Content::Blank) }],
    targets: &[("raw", "PARTUUID=6b64756d-7000-4000-8000-706972677461")],
    says: &["kdump: saving to raw:", "kdump: saved /dev/vda1 (", "kdump: rebooting"],
    ..EXT4
};

/// A raw target that turns out to have a file system: it is left alone.
pub const RAW_OCCUPIED: Case = Case {
    media: &[whole(Content::Xfs), whole(Content::Ext4)],
    targets: &[("raw", "/dev/vda"), ("ext4", "/dev/vdb")],
    says: &["kdump: raw:/dev/vda: /dev/vda has a file system (xfs)", "kdump: saved /var/crash/"],
    expected: Expected::Saved { disk: 1, log: true },
    ..EXT4
};

/// A device path, with older dumps of which one more is kept.
pub const KEEP: Case = Case {
    targets: &[("ext4", "/dev/vda")],
    options: &["--keep", "2"],
    fault: Fault::OldDumps,
    says: &[
        "kdump: saving to ",
        "kdump: removed the older dump oldest",
        "kdump: saved /var/crash/",
    ],
    ..EXT4
};

/// As little memory for the capture kernel as is promised.
pub const SMALL: Case = Case { crashkernel: Some("96M"), ..EXT4 };

/// The first target is not there, the second is.
pub const MISSING: Case = Case {
    targets: &[("xfs", "LABEL=nowhere"), ("ext4", "LABEL=dumps")],
    options: &["--set", "wait=2"],
    says: &[
        "kdump: xfs:LABEL=nowhere: no block device is LABEL=nowhere after 2 seconds",
        "kdump: saved /var/crash/",
    ],
    ..EXT4
};

/// The only target is not there, and the machine is to be switched off then.
pub const ACTION: Case = Case {
    targets: &[("ext4", "LABEL=nowhere"), ("ext4", "LABEL=dumps")],
    options: &["--set", "wait=2", "--on-failure", "poweroff"],
    says: &["kdump: failed: ext4:LABEL=nowhere: no block device", "kdump: powering off"],
    expected: Expected::Lost { end: End::PowerOff, journal: None },
    ..EXT4
};

/// The target is on a controller whose module is not in the image.
pub const MODULE: Case = Case {
    media: &[],
    targets: &[("ext4", "/dev/sda")],
    options: &["--set", "wait=2"],
    qemu: &["-device", "virtio-scsi-pci"],
    says: &[
        "kdump: failed: ext4:/dev/sda: no block device is /dev/sda after 2 seconds; devices: none. Is its driver in the image?",
        "kdump: rebooting",
    ],
    expected: Expected::Lost { end: End::Reset, journal: None },
    ..EXT4
};

/// The first disk can only be read.
pub const READ_ONLY: Case = Case {
    media: &[Medium { drive: ",readonly=on", ..whole(Content::Ext4) }, whole(Content::Xfs)],
    targets: &[("ext4", "/dev/vda"), ("xfs", "/dev/vdb")],
    says: &["kdump: ext4:/dev/vda: cannot mount /dev/vda (ext4)", "kdump: saved /var/crash/"],
    expected: Expected::Saved { disk: 1, log: true },
    ..EXT4
};

/// A dump of everything, as large as the memory.
const WHOLE: &[&str] = &["--set", "format=elf", "--set", "level=0"];

/// The disk is too small, which is seen before anything is written.
pub const TOO_SMALL: Case = Case {
    media: &[Medium { mebibytes: 24, ..whole(Content::Ext4) }],
    options: WHOLE,
    says: &["kdump: failed: ext4:LABEL=dumps: the target has ", "kdump: rebooting"],
    expected: Expected::Lost { end: End::Reset, journal: Some((0, "the target has ")) },
    ..EXT4
};

/// The disk cannot be written in the middle of the dump.
pub const BROKEN: Case = Case {
    media: &[Medium { bad: Some(Bad { from: 160, errno: EIO }), ..whole(Content::Ext4) }],
    options: WHOLE,
    says: &["kdump: failed: ext4:LABEL=dumps: ", "kdump: rebooting"],
    expected: Expected::Lost { end: End::Reset, journal: None },
    ..EXT4
};

/// A SCSI disk that is provisioned thinly has no more blocks in the middle of the dump, though its
/// file system has room: the second disk gets the dump.
pub const FULL: Case = Case {
    media: &[
        Medium {
            bus: Bus::Scsi,
            bad: Some(Bad { from: 6, errno: ENOSPC }),
            ..whole(Content::Vfat)
        },
        whole(Content::Blank),
    ],
    targets: &[("vfat", "LABEL=dumps"), ("raw", "/dev/vda")],
    options: &["--add-drivers", "virtio_scsi", "--add-drivers", "sd_mod"],
    says: &[
        "kdump: saving to vfat:LABEL=dumps /var/crash/",
        NO_SPACE,
        "kdump: saved /dev/vda (",
        "kdump: rebooting",
    ],
    expected: Expected::OnSecond(NO_SPACE),
    ..EXT4
};

/// ENOSPC in words.
const NO_SPACE: &str = "No space left on device";

/// The dead kernel's description of itself is overwritten: there is no log and nothing can be left
/// out, but all of the memory is saved.
pub const VMCOREINFO: Case = Case {
    fault: Fault::Vmcoreinfo,
    says: &[
        "kdump: the log is not saved: ",
        "kdump: no pages but those of zeros are left out",
        "kdump: saved /var/crash/",
        "kdump: rebooting",
    ],
    expected: Expected::Saved { disk: 0, log: false },
    ..EXT4
};

/// A disk so slow that it looks dead: the worker is given up.
pub const HANG: Case = Case {
    media: &[Medium { drive: ",throttling.bps-write=20000", ..whole(Content::Ext4) }],
    options: &["--set", "stall=15", "--set", "wait=2"],
    says: &[
        "kdump: failed: no progress for 15 seconds; the worker was stopped",
        "kdump: rebooting",
    ],
    expected: Expected::Lost { end: End::Reset, journal: None },
    ..EXT4
};

/// So many threads that the capture kernel has no memory for them.
pub const OUT_OF_MEMORY: Case = Case {
    options: &["--set", "threads=300", "--set", "level=0"],
    crashkernel: Some("80M"),
    says: &["kdump: failed: the worker was killed", "kdump: rebooting"],
    expected: Expected::Lost {
        end: End::Reset,
        journal: Some((0, "failed: the worker was killed")),
    },
    ..EXT4
};

/// A watchdog that fires after 60 seconds, and a disk so slow that the dump takes longer.
pub const WATCHDOG: Case = Case {
    media: &[Medium { drive: ",throttling.bps-write=250000", ..whole(Content::Ext4) }],
    options: &["--add-drivers", "softdog"],
    says: &["kdump: tending /dev/watchdog0", "kdump: saved /var/crash/", "kdump: rebooting"],
    ..EXT4
};

/// Power is cut while the dump is written.
pub const POWER_CUT: Case = Case {
    media: &[Medium { drive: ",throttling.bps-write=4000000", ..whole(Content::Ext4) }],
    options: &["--set", "level=0"],
    fault: Fault::PowerCut,
    // The second of them comes seconds after the first page was written.
    says: &["kdump: saving to ", "kdump: saving ", "kdump: saving "],
    expected: Expected::Incomplete,
    ..EXT4
};

/// A directory beside the dump.
pub(super) struct Old {
    pub(super) directory: &'static str,
    /// Its manifest.
    manifest: &'static str,
    /// Another file.
    file: &'static str,
    /// Whether it must still be there after the new dump, with `--keep 2`.
    pub(super) stays: bool,
}

/// Sorted by name.
pub(super) const OLD_DUMPS: [Old; 4] = [
    Old {
        directory: "foreign",
        manifest: r#"{"capture": "another program", "started": "1998"}"#,
        file: "vmcore",
        stays: true,
    },
    Old {
        directory: "newer",
        manifest: r#"{"capture": "kdump-capture 0.1.0", "started": "1999-02-01T00:00:00Z"}"#,
        file: "vmcore",
        stays: true,
    },
    Old {
        directory: "old-with-notes",
        manifest: r#"{"capture": "kdump-capture 0.1.0", "started": "1999-01-02T00:00:00Z"}"#,
        file: "analysis.txt",
        stays: true,
    },
    Old {
        directory: "oldest",
        manifest: r#"{"capture": "kdump-capture 0.1.0", "started": "1999-01-01T00:00:00Z"}"#,
        file: "vmcore",
        stays: false,
    },
];

/// Makes a folder with the root directory of a disk that has [`OLD_DUMPS`].
pub(super) fn old_dumps(folder: &Path) -> Result<PathBuf, Error> {
    let root = folder.join("old");
    for old in OLD_DUMPS {
        let path = root.join("var/crash").join(old.directory);
        let failed = |source| Error::File { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
        fs::write(path.join("manifest.json"), old.manifest).map_err(failed)?;
        fs::write(path.join(old.file), "content").map_err(failed)?;
    }
    Ok(root)
}
