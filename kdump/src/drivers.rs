//! Which kernel modules drive a block device, a network interface or a watchdog of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the drivers of a device cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device is not described in sysfs.
    #[error("cannot read what drives {name}")]
    Read {
        /// The device's name.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The network interface has no hardware below it.
    #[error("network interface {name} has no hardware below it: name one that has")]
    Virtual {
        /// The interface's name.
        name: String,
    },
    /// The device is made of others by the device mapper or md.
    #[error(
        "{name} is made of other devices (LVM, LUKS, RAID): not supported yet as a dump target"
    )]
    Stacked {
        /// The device's name.
        name: String,
    },
}

/// How many network interfaces are looked at below one another: a VLAN on a bridge on a bond.
const LAYERS: usize = 4;

/// The modules that drive block device `name` (`vda1`) and everything it hangs on, the nearest to
/// the CPU first. Built-in drivers have no module and are left out.
pub fn of_block_device(class: &Path, name: &str) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Read { name: name.to_owned(), source };
    let device = class.join(name).canonicalize().map_err(failed)?;
    if is_stacked(&device) {
        return Err(Error::Stacked { name: name.to_owned() });
    }
    let mut modules = drivers_above(&device);
    for path in nvme_controllers(&device) {
        modules.extend(drivers_above(&path));
    }
    modules.dedup();
    Ok(modules)
}

/// The hardware below network interface `name`: itself, or the first port of a bridge or bond, which
/// the capture kernel does without.
pub fn physical_interface(class: &Path, name: &str) -> Result<String, Error> {
    let mut name = name.to_owned();
    for _ in 0..LAYERS {
        if class.join(&name).join("device").exists() {
            return Ok(name);
        }
        let entries = fs::read_dir(class.join(&name));
        let entries = entries.map_err(|source| Error::Read { name: name.clone(), source })?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let lower = names.filter_map(|entry| Some(entry.strip_prefix("lower_")?.to_owned()));
        // A bridge has those of virtual machines too.
        let has_device = |name: &String| class.join(name).join("device").exists();
        let mut lower: Vec<String> = lower.collect();
        lower.sort_by_key(|name| (!has_device(name), name.clone()));
        match lower.into_iter().next() {
            Some(below) => name = below,
            None => break,
        }
    }
    Err(Error::Virtual { name })
}

/// The modules that drive network interface `name`, which is hardware, and everything it hangs on,
/// the nearest to the CPU first.
pub fn of_network_interface(class: &Path, name: &str) -> Result<Vec<String>, Error> {
    let device = class.join(name).join("device").canonicalize();
    let device = device.map_err(|source| Error::Read { name: name.to_owned(), source })?;
    let mut modules = drivers_above(&device);
    modules.dedup();
    Ok(modules)
}

/// What drives `device` and what it hangs on, the nearest to the CPU first.
fn drivers_above(device: &Path) -> Vec<String> {
    let mut modules: Vec<String> = device.ancestors().filter_map(module_of).collect();
    modules.reverse();
    modules
}

/// The controllers of an NVMe disk with multipath: its device hangs on a subsystem, which has a
/// link to each of them, and not on a bus.
fn nvme_controllers(device: &Path) -> Vec<PathBuf> {
    let is_subsystem = |path: &&Path| {
        path.parent().is_some_and(|parent| parent.ends_with("virtual/nvme-subsystem"))
    };
    let Some(subsystem) = device.ancestors().find(is_subsystem) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(subsystem) else { return Vec::new() };
    let links = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_symlink() && name.starts_with("nvme")
    });
    let mut controllers: Vec<PathBuf> = links.filter_map(|path| path.canonicalize().ok()).collect();
    controllers.sort();
    controllers
}

/// The modules that drive the hardware watchdogs that are running: they go on when the kernel dies,
/// and restart the machine unless the capture kernel tends them.
pub fn of_active_watchdogs(class: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let watchdogs = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let active = watchdogs.filter(|path| {
        fs::read_to_string(path.join("state")).is_ok_and(|state| state.trim() == "active")
    });
    let devices = active.filter_map(|path| path.join("device").canonicalize().ok());
    let mut modules: Vec<String> = devices.flat_map(|device| drivers_above(&device)).collect();
    modules.sort();
    modules.dedup();
    modules
}

fn is_stacked(device: &Path) -> bool {
    let slaves = |path: &Path| fs::read_dir(path).is_ok_and(|mut found| found.next().is_some());
    // A partition has none; its disk may have.
    slaves(&device.join("slaves")) || device.parent().is_some_and(|d| slaves(&d.join("slaves")))
}

fn module_of(device: &Path) -> Option<String> {
    let module: PathBuf = device.join("driver/module").canonicalize().ok()?;
    Some(module.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A disk on virtio on PCI, whose PCI driver is built in.
    fn sysfs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in [
            "class",
            "devices/pci/virtio0/block/vda/vda1",
            "devices/dm-0/slaves/vda",
            "module/virtio_blk",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in
            ["module/virtio_pci", "drivers/virtio_blk", "drivers/virtio_pci", "drivers/port"]
        {
            fs::create_dir_all(path(name)).unwrap();
        }
        let links = [
            ("class/vda1", "devices/pci/virtio0/block/vda/vda1"),
            ("class/dm-0", "devices/dm-0"),
            ("devices/pci/virtio0/driver", "drivers/virtio_blk"),
            ("devices/pci/driver", "drivers/virtio_pci"),
            ("devices/driver", "drivers/port"),
            ("drivers/virtio_blk/module", "module/virtio_blk"),
            ("drivers/virtio_pci/module", "module/virtio_pci"),
        ];
        for (link, target) in links {
            symlink(path(target), path(link)).unwrap();
        }
        dir
    }

    #[test]
    fn drivers_are_found_along_the_devices_path() {
        let dir = sysfs();
        let found = of_block_device(&dir.path().join("class"), "vda1").unwrap();
        assert_eq!(found, ["virtio_pci", "virtio_blk"]);
    }

    #[test]
    fn an_nvme_disk_with_multipath_has_the_drivers_of_its_controllers() {
        let dir = sysfs();
        let path = |name: &str| dir.path().join(name);
        let disk = "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
        fs::create_dir_all(path(disk)).unwrap();
        fs::create_dir_all(path("devices/pci/nvme/nvme0")).unwrap();
        symlink(path(disk), path("class/nvme0n1")).unwrap();
        let link = path("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0");
        symlink(path("devices/pci/nvme/nvme0"), link).unwrap();
        // What drives the PCI device stands for nvme here.
        let found = of_block_device(&path("class"), "nvme0n1").unwrap();
        assert_eq!(found, ["virtio_pci"]);
    }

    #[test]
    fn watchdogs_that_run_need_their_drivers() {
        let dir = sysfs();
        for (name, state) in [("watchdog0", "active\n"), ("watchdog1", "inactive\n")] {
            let watchdog = dir.path().join("watchdog").join(name);
            fs::create_dir_all(&watchdog).unwrap();
            fs::write(watchdog.join("state"), state).unwrap();
        }
        let class = dir.path().join("watchdog");
        let device = |name: &str, to: &str| {
            symlink(dir.path().join(to), class.join(name).join("device")).unwrap();
        };
        device("watchdog0", "devices/pci");
        device("watchdog1", "devices/pci/virtio0");
        assert_eq!(of_active_watchdogs(&class), ["virtio_pci"]);
        assert_eq!(of_active_watchdogs(&dir.path().join("none")), [""; 0]);
    }

    #[test]
    fn the_network_card_below_a_bridge_is_found() {
        let dir = sysfs();
        let class = dir.path().join("class");
        let path = |name: &str| dir.path().join(name);
        for name in ["devices/pci/virtio0/net/eth0", "devices/br0", "devices/atap0"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for (link, target) in [
            ("class/eth0", "devices/pci/virtio0/net/eth0"),
            ("class/br0", "devices/br0"),
            ("class/atap0", "devices/atap0"),
            ("devices/br0/lower_atap0", "devices/atap0"),
            ("devices/br0/lower_eth0", "devices/pci/virtio0/net/eth0"),
            ("devices/pci/virtio0/net/eth0/device", "devices/pci/virtio0"),
        ] {
            symlink(path(target), path(link)).unwrap();
        }
        assert_eq!(physical_interface(&class, "eth0").unwrap(), "eth0");
        assert_eq!(physical_interface(&class, "br0").unwrap(), "eth0");
        let found = of_network_interface(&class, "eth0").unwrap();
        assert_eq!(found, ["virtio_pci", "virtio_blk"]);
        assert!(matches!(physical_interface(&class, "atap0"), Err(Error::Virtual { .. })));
    }

    #[test]
    fn stacked_and_missing_devices_are_refused() {
        let dir = sysfs();
        let class = dir.path().join("class");
        assert!(matches!(of_block_device(&class, "dm-0"), Err(Error::Stacked { .. })));
        assert!(matches!(of_block_device(&class, "vdz"), Err(Error::Read { .. })));
    }
}
