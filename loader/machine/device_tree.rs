//! The running kernel's device tree: /proc/device-tree, a directory for each node and a file for
//! each property (kernel 6.1 Documentation/ABI/testing/sysfs-firmware-ofw).
//!
//! /sys/firmware/fdt is not the same: it is what the boot loader handed over, without what the
//! kernel added for kexec and without CPUs and memory that came later.

use super::{MachineError, Sysroot, sysroot::Entry};
use crate::fdt::{DEPTH_MAX, DeviceTree, Node, Property};

const DIRECTORY: &str = "proc/device-tree";

/// In a captured copy the directory may be one flattened file: its names are not welcome in every
/// file system.
const FLATTENED: &str = "proc/device-tree.dtb";

/// Reads the tree.
pub fn read(root: &Sysroot) -> Result<DeviceTree, MachineError> {
    if let Some(flattened) = root.read(FLATTENED)? {
        return DeviceTree::parse(&flattened)
            .map_err(|source| MachineError::DeviceTree { path: root.path(FLATTENED), source });
    }
    let root = node(root, DIRECTORY, "", 0)?;
    Ok(DeviceTree { root, ..DeviceTree::default() })
}

fn node(root: &Sysroot, path: &str, name: &str, depth: usize) -> Result<Node, MachineError> {
    let mut node = Node::new(name);
    for (name, entry) in sorted(root.entries(path)?) {
        let path = format!("{path}/{name}");
        match entry {
            // The node's name once more, without the unit address; the kernel makes it up.
            Entry::File if name == "name" => {}
            Entry::File => {
                let value = root.required_bytes(&path)?;
                node.properties.push(Property { name, value });
            }
            Entry::Directory if depth + 1 < DEPTH_MAX => {
                node.children.push(self::node(root, &path, &name, depth + 1)?);
            }
            Entry::Directory => return Err(MachineError::TooDeep { path: root.path(&path) }),
            // The kernel shows nothing else there.
            Entry::Other => {}
        }
    }
    Ok(node)
}

/// In an order that is the same each time: the kernel lists directories in any order, but counts
/// CPUs by their order in the tree. Unit addresses are hexadecimal without leading zeroes, so the
/// shorter one is the smaller one.
fn sorted(mut entries: Vec<(String, Entry)>) -> Vec<(String, Entry)> {
    entries.sort_by(|(a, _), (b, _)| {
        let key = |name: &'_ str| {
            let (base, unit) = name.split_once('@').unwrap_or((name, ""));
            (base.to_owned(), unit.len(), unit.to_owned())
        };
        key(a).cmp(&key(b))
    });
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn directories_are_nodes_and_files_are_properties() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("sys/firmware/devicetree/base");
        for cpu in ["cpu@10", "cpu@8", "cpu@0"] {
            fs::create_dir_all(base.join("cpus").join(cpu)).unwrap();
        }
        fs::write(base.join("cpus/cpu@8/reg"), [0, 0, 0, 8]).unwrap();
        fs::write(base.join("cpus/cpu@8/name"), "cpu\0").unwrap();
        fs::write(base.join("model"), "test\0").unwrap();
        fs::create_dir(directory.path().join("proc")).unwrap();
        symlink(&base, directory.path().join("proc/device-tree")).unwrap();

        let tree = read(&Sysroot::at(directory.path())).unwrap();
        assert_eq!(tree.root.string("model"), Ok(Some("test")));
        let cpus = &tree.node("/cpus").unwrap().children;
        let names: Vec<_> = cpus.iter().map(|cpu| &*cpu.name).collect();
        assert_eq!(names, ["cpu@0", "cpu@8", "cpu@10"]);
        assert_eq!(cpus[1].properties.len(), 1, "not the name");
        assert_eq!(cpus[1].u32("reg"), Ok(Some(8)));
    }

    #[test]
    fn directories_without_end_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = "d/".repeat(DEPTH_MAX + 1);
        fs::create_dir_all(directory.path().join(DIRECTORY).join(path)).unwrap();
        let error = read(&Sysroot::at(directory.path())).unwrap_err();
        assert!(matches!(error, MachineError::TooDeep { .. }), "{error}");
    }

    #[test]
    fn a_machine_without_a_device_tree_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(&Sysroot::at(directory.path())).unwrap_err();
        assert!(error.to_string().contains("proc/device-tree"), "{error}");
        fs::create_dir(directory.path().join("proc")).unwrap();
        fs::write(directory.path().join(FLATTENED), "no tree").unwrap();
        let error = read(&Sysroot::at(directory.path())).unwrap_err();
        assert!(error.to_string().contains("device-tree.dtb"), "{error}");
    }
}
