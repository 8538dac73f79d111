//! What `kdump load` loaded, as recorded in `/run/kdump/loaded.json`: the kernel itself tells only
//! that there is something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, ReadError};
use crate::new_file;

/// Where the record is, below the root directory. It does not outlive a boot, nor does what is
/// loaded.
pub const PATH: &str = "run/kdump/loaded.json";

/// A record that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not what this version writes.
    #[error("{} is damaged, or of another version: run kdump load", path.display())]
    Malformed {
        /// The record.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] new_file::Error<serde_json::Error>),
    /// It cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A capture kernel with everything that goes with it. Two of them are equal if they do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loaded {
    /// The capture kernel.
    pub kernel: KernelFile,
    /// Its command line, as given to `kexec`.
    pub command_line: String,
    /// More options of `kexec`.
    pub kexec_options: Vec<String>,
    /// Its initramfs.
    pub image: ImageFile,
    /// The targets of the dump, in order.
    pub targets: Vec<TargetSeen>,
    /// The memory and the CPUs that the core headers describe.
    pub hardware: Hardware,
}

/// A kernel file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFile {
    /// Its path.
    pub path: PathBuf,
    /// Its release.
    pub release: String,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// A capture image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of its configuration without the modules: they depend on which targets are there.
    pub settings: String,
    /// SHA-256 of each file in it, by its path.
    pub files: BTreeMap<String, String>,
}

/// A target and what it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// As in the settings: `ext4:LABEL=dumps`.
    pub target: String,
    /// Whether the machine has its device; of a server that is not asked.
    pub present: bool,
    /// UUID of the file system on its device; `None` where there is none, or no device.
    pub uuid: Option<String>,
}

/// What of the machine may come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Numbers of the memory blocks that are online; empty where memory cannot come and go.
    pub memory_blocks: Vec<u64>,
    /// CPUs that are there, as `/sys/devices/system/cpu/present` has them.
    pub cpus: String,
}

impl Hardware {
    /// As `machine` has it now.
    pub fn of(machine: &Machine) -> Result<Self, ReadError> {
        let cpus = machine.text("sys/devices/system/cpu/present")?.unwrap_or_default();
        let directory = machine.path("sys/devices/system/memory");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        // Beside the blocks lie files and directories of other kinds.
        let numbers = entries.filter_map(|entry| {
            entry.file_name().to_str()?.strip_prefix("memory")?.parse::<u64>().ok()
        });
        let mut memory_blocks = Vec::new();
        for number in numbers {
            let state = machine.text(&format!("sys/devices/system/memory/memory{number}/state"))?;
            if state.is_some_and(|state| state.trim() == "online") {
                memory_blocks.push(number);
            }
        }
        memory_blocks.sort_unstable();
        Ok(Self { memory_blocks, cpus: cpus.trim().to_owned() })
    }
}

impl Loaded {
    /// The record of `machine`; `None` if nothing was loaded by `kdump load`.
    pub fn read(machine: &Machine) -> Result<Option<Self>, Error> {
        let Some(text) = machine.text(PATH)? else { return Ok(None) };
        let malformed = |source| Error::Malformed { path: machine.path(PATH), source };
        serde_json::from_str(&text).map(Some).map_err(malformed)
    }

    /// Keeps the record.
    pub fn write(&self, machine: &Machine) -> Result<(), Error> {
        new_file::replace(&machine.path(PATH), |out| serde_json::to_writer_pretty(out, self))?;
        Ok(())
    }

    /// Forgets the record of `machine`, if there is one.
    pub fn remove(machine: &Machine) -> Result<(), Error> {
        let path = machine.path(PATH);
        new_file::remove(&path).map_err(|source| Error::Remove { path, source })
    }

    /// What is not as it is in `wanted`, in words.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let (kernel, now) = (&self.kernel, &wanted.kernel);
        if kernel.release != now.release {
            found.push(format!("the kernel is {}, it should be {}", kernel.release, now.release));
        } else if kernel.path != now.path {
            let [is, should] = [&kernel.path, &now.path].map(|path| path.display());
            found.push(format!("the kernel is {is}, it should be {should}"));
        } else if kernel.sha256 != now.sha256 {
            found.push(format!("{} has changed", kernel.path.display()));
        }
        if self.command_line != wanted.command_line || self.kexec_options != wanted.kexec_options {
            found.push("the command line would be another".to_owned());
        }
        let other_settings = self.image.settings != wanted.image.settings;
        if other_settings {
            found.push("the settings have changed: /etc/kdump.toml, or what they stand for".into());
        }
        // An image that is made now would lack the drivers of a target that has gone.
        let gone = self.targets_now(wanted).any(|(then, now)| then.present && !now.present);
        let is_explained = |path: &&str| {
            is_config(path) && (gone || other_settings)
                || is_module(path) && gone && !wanted.image.files.contains_key(*path)
        };
        let changed = self.image.changed_files(&wanted.image);
        found.extend(changed.filter(|path| !is_explained(path)).map(what_changed));
        found.extend(self.changed_targets(wanted));
        found
    }

    /// Each target as it was, and as it is in `wanted`.
    fn targets_now<'a>(
        &'a self,
        wanted: &'a Self,
    ) -> impl Iterator<Item = (&'a TargetSeen, &'a TargetSeen)> {
        self.targets.iter().flat_map(|then| {
            let now = wanted.targets.iter().find(move |now| now.target == then.target);
            now.map(|now| (then, now))
        })
    }

    /// Targets whose device has another file system than it had.
    fn changed_targets<'a>(&'a self, wanted: &'a Self) -> impl Iterator<Item = String> + 'a {
        self.targets_now(wanted).filter_map(|(then, now)| match (&then.uuid, &now.uuid) {
            (Some(old), Some(new)) if old != new => {
                Some(format!("{} had a file system with UUID {old}, now it has {new}", then.target))
            }
            (_, _) => None,
        })
    }
}

impl ImageFile {
    /// Paths of the files that only one of the images has, or that are not the same in both.
    fn changed_files<'a>(&'a self, wanted: &'a Self) -> impl Iterator<Item = &'a str> {
        let paths = self.files.keys().chain(wanted.files.keys());
        let changed: BTreeSet<&str> = paths
            .filter(|path| self.files.get(*path) != wanted.files.get(*path))
            .map(String::as_str)
            .collect();
        changed.into_iter()
    }
}

/// Whether a file of an image is its configuration.
pub(crate) fn is_config(path: &str) -> bool {
    path == capture::config::PATH.trim_start_matches('/')
}

/// Whether a file of an image is a module.
pub(crate) fn is_module(path: &str) -> bool {
    Path::new(path).starts_with(capture::config::MODULES.trim_start_matches('/'))
}

/// A file of the image in the operator's words.
fn what_changed(path: &str) -> String {
    if is_config(path) {
        "the drivers of a target have changed".to_owned()
    } else if path == "init" {
        "the program kdump-capture has changed".to_owned()
    } else if is_module(path) {
        format!("the module /{path} has changed")
    } else {
        format!("the image's file /{path} has changed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded() -> Loaded {
        let files = [("init", "1"), ("etc/kdump-capture.conf", "2"), ("lib/modules/a.ko", "3")];
        Loaded {
            kernel: KernelFile {
                path: "/boot/vmlinuz-1".into(),
                release: "1".into(),
                sha256: "00".into(),
            },
            command_line: "a b".into(),
            kexec_options: Vec::new(),
            image: ImageFile {
                path: "/var/lib/kdump/x".into(),
                bytes: 3,
                sha256: "11".into(),
                settings: "22".into(),
                files: files.map(|(path, sha256)| (path.into(), sha256.into())).into(),
            },
            targets: vec![TargetSeen {
                target: "ext4:/dev/vda".into(),
                present: true,
                uuid: Some("u1".into()),
            }],
            hardware: Hardware { memory_blocks: vec![0, 1], cpus: "0-3".into() },
        }
    }

    #[test]
    fn a_record_reads_back_as_itself_and_is_gone_when_removed() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(dir.path());
        fs::create_dir_all(dir.path().join("run/kdump")).unwrap();
        assert_eq!(Loaded::read(&machine).unwrap(), None);
        loaded().write(&machine).unwrap();
        assert_eq!(Loaded::read(&machine).unwrap(), Some(loaded()));
        Loaded::remove(&machine).unwrap();
        Loaded::remove(&machine).unwrap();
        assert_eq!(Loaded::read(&machine).unwrap(), None);
        fs::write(dir.path().join(PATH), "{}").unwrap();
        assert!(matches!(Loaded::read(&machine), Err(Error::Malformed { .. })));
    }

    #[test]
    fn what_changed_is_named() {
        let differences = |change: fn(&mut Loaded)| {
            let mut wanted = loaded();
            change(&mut wanted);
            loaded().differences(&wanted).join("; ")
        };
        assert_eq!(differences(|_| ()), "");
        assert_eq!(
            differences(|l| l.kernel.release = "2".into()),
            "the kernel is 1, it should be 2"
        );
        assert_eq!(differences(|l| l.kernel.sha256 = "ff".into()), "/boot/vmlinuz-1 has changed");
        assert!(differences(|l| l.command_line.push('c')).contains("command line"));
        assert!(
            differences(|l| drop(l.image.files.insert("init".into(), "9".into())))
                .contains("kdump-capture")
        );
        assert!(
            differences(|l| drop(l.image.files.remove("lib/modules/a.ko")))
                .contains("the module /lib/modules/a.ko")
        );
        assert!(
            differences(|l| l.targets[0].uuid = Some("u2".into())).contains("u1, now it has u2")
        );
    }

    #[test]
    fn a_target_that_has_gone_takes_nothing_from_what_is_loaded() {
        let mut wanted = loaded();
        wanted.image.files.remove("lib/modules/a.ko");
        wanted.image.files.insert("etc/kdump-capture.conf".into(), "without its drivers".into());
        wanted.targets[0] = TargetSeen { present: false, uuid: None, ..wanted.targets[0].clone() };
        assert_eq!(loaded().differences(&wanted), Vec::<String>::new());
        // It is back, and the image that was made without it lacks its drivers.
        assert_eq!(wanted.differences(&loaded()).len(), 2);
        wanted.image.files.insert("init".into(), "another".into());
        assert_eq!(loaded().differences(&wanted), ["the program kdump-capture has changed"]);
        // Nor does it hide what else has changed.
        wanted.image.files.insert("lib/modules/a.ko".into(), "another".into());
        wanted.image.settings = "others".into();
        let told = loaded().differences(&wanted).join("; ");
        for part in ["/etc/kdump.toml", "kdump-capture", "the module /lib/modules/a.ko"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("drivers"), "{told}");
    }

    #[test]
    fn hardware_is_what_is_online() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(dir.path());
        assert_eq!(Hardware::of(&machine).unwrap(), Hardware::default());
        for (block, state) in
            [("memory10", "online\n"), ("memory2", "online\n"), ("memory3", "offline\n")]
        {
            let block = dir.path().join("sys/devices/system/memory").join(block);
            fs::create_dir_all(&block).unwrap();
            fs::write(block.join("state"), state).unwrap();
        }
        fs::create_dir_all(dir.path().join("sys/devices/system/cpu")).unwrap();
        fs::write(dir.path().join("sys/devices/system/cpu/present"), "0-3\n").unwrap();
        let expected = Hardware { memory_blocks: vec![2, 10], cpus: "0-3".into() };
        assert_eq!(Hardware::of(&machine).unwrap(), expected);
    }
}
