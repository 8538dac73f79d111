//! The disk controllers that QEMU has, by the Linux driver for them: the capture image has the
//! drivers of the real machine, and the scratch disk has to hang on something that they drive.

use capture::config::Config;

use crate::modules::ModuleTree;

/// How Linux names the disks of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// `/dev/vda`, `/dev/vda1`.
    Virtio,
    /// `/dev/sda`, `/dev/sda1`.
    Scsi,
    /// `/dev/nvme0n1`, `/dev/nvme0n1p1`.
    Nvme,
}

/// A controller.
#[derive(Debug, PartialEq, Eq)]
pub struct Controller {
    /// The Linux module that drives it.
    pub driver: &'static str,
    /// The names of its disks.
    pub node: Node,
    /// QEMU's device for the controller itself, where disks are devices of their own.
    bus: Option<&'static str>,
    /// QEMU's device for a disk, to which `,drive=NAME` is added.
    disk: &'static str,
}

const fn scsi(driver: &'static str, bus: &'static str) -> Controller {
    Controller { driver, node: Node::Scsi, bus: Some(bus), disk: "scsi-hd" }
}

/// Those of QEMU 10.0 (`-device help`) that Linux machines boot from; the usual ones of virtual
/// machines first.
static ALL: [Controller; 10] = [
    Controller { driver: "virtio_blk", node: Node::Virtio, bus: None, disk: "virtio-blk-pci" },
    scsi("virtio_scsi", "virtio-scsi-pci"),
    Controller { driver: "nvme", node: Node::Nvme, bus: None, disk: "nvme,serial=rehearsal" },
    Controller { driver: "ahci", node: Node::Scsi, bus: Some("ahci,id=sata"), disk: "ide-hd" },
    scsi("ibmvscsi", "spapr-vscsi"),
    scsi("megaraid_sas", "megasas"),
    scsi("vmw_pvscsi", "pvscsi"),
    scsi("mptsas", "mptsas1068"),
    scsi("sym53c8xx", "lsi53c895a"),
    Controller {
        driver: "usb_storage",
        node: Node::Scsi,
        bus: Some("qemu-xhci"),
        disk: "usb-storage",
    },
];

/// The modules that an image gets where none of its own drives anything that QEMU has.
pub const SUPPLEMENT: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// What [`SUPPLEMENT`] drives.
pub fn supplement() -> &'static Controller {
    &ALL[0]
}

/// A controller that the image of `config` drives, whose disks are named as `node` says if that
/// matters; a driver may be built into the kernel of `tree` instead.
pub fn driven(
    config: &Config,
    tree: Option<&ModuleTree>,
    node: Option<Node>,
) -> Option<&'static Controller> {
    let suits = |controller: &&Controller| node.is_none_or(|node| node == controller.node);
    let packed = |controller: &&Controller| {
        config.modules.iter().any(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.replace('-', "_") == controller.driver
        })
    };
    let builtin =
        |controller: &&Controller| tree.is_some_and(|tree| tree.is_builtin(controller.driver));
    let mut suitable = ALL.iter().filter(suits);
    suitable.clone().find(packed).or_else(|| suitable.find(builtin))
}

impl Controller {
    /// QEMU's arguments for this controller with disks on the drives of these names.
    pub fn devices<'a>(&self, drives: impl Iterator<Item = &'a str>) -> Vec<String> {
        let device = |text: String| ["-device".to_owned(), text];
        let bus = self.bus.iter().map(|bus| (*bus).to_owned());
        // An AHCI controller has a bus for each port.
        let ports = self.driver == "ahci";
        let disks = drives.enumerate().map(|(number, drive)| {
            let port = if ports { format!(",bus=sata.{number}") } else { String::new() };
            format!("{},drive={drive}{port}", self.disk)
        });
        bus.chain(disks).flat_map(device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_with(modules: &[&str]) -> Config {
        Config { modules: modules.iter().map(Into::into).collect(), ..Config::default() }
    }

    #[test]
    fn the_image_decides_what_the_disk_hangs_on() {
        let driver = |modules: &[&str], node| {
            driven(&image_with(modules), None, node).map(|controller| controller.driver)
        };
        let nvme = ["kernel/drivers/nvme/host/nvme-core.ko", "kernel/drivers/nvme/host/nvme.ko"];
        assert_eq!(driver(&nvme, None), Some("nvme"));
        assert_eq!(driver(&nvme, Some(Node::Scsi)), None);
        assert_eq!(driver(&["kernel/drivers/scsi/virtio_scsi.ko"], None), Some("virtio_scsi"));
        assert_eq!(driver(&["kernel/drivers/scsi/aacraid.ko"], None), None);
    }

    #[test]
    fn disks_hang_on_their_controller() {
        let of = |driver| ALL.iter().find(|controller| controller.driver == driver).unwrap();
        let drives = ["disk0", "disk1"];
        assert_eq!(
            of("ahci").devices(drives.into_iter()).join(" "),
            "-device ahci,id=sata -device ide-hd,drive=disk0,bus=sata.0 \
             -device ide-hd,drive=disk1,bus=sata.1"
        );
        assert_eq!(
            of("virtio_blk").devices(drives.into_iter().take(1)).join(" "),
            "-device virtio-blk-pci,drive=disk0"
        );
    }
}
