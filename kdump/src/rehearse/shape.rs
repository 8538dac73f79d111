//! What the scratch disk must look like for the image to take it for the real target.

use std::path::{Path, PathBuf};

use capture::config::Device;

use super::controller::Node;

/// A target that no single scratch disk can stand for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not one that a disk of QEMU's gets.
    #[error(
        "no disk of QEMU's is called {}: name the target by UUID=, LABEL= or PARTUUID=, \
         or rehearse an image whose target is", path.display()
    )]
    Name {
        /// The device.
        path: PathBuf,
    },
    /// A partition of an MBR that has to lie inside another.
    #[error("PARTUUID={id} is a logical partition: not supported")]
    Logical {
        /// The partition's id.
        id: String,
    },
}

/// How the partition on the disk is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// A GPT, in which the partition has this UUID if that matters.
    Gpt(Option<String>),
    /// An MBR with this disk signature.
    Mbr(String),
}

/// The only partition of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// What lists it.
    pub table: Table,
}

/// The disk; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The kernel's name for its kind of disk, and how many of them come before it.
    pub node: Option<(Node, usize)>,
    /// The partition; the file system has the whole disk without.
    pub partition: Option<Partition>,
    /// UUID of the file system.
    pub uuid: Option<String>,
    /// Label of the file system.
    pub label: Option<String>,
}

impl Shape {
    /// The disk that `device` names.
    pub fn of(device: &Device) -> Result<Self, Error> {
        match device {
            Device::Path(path) => {
                of_name(path).ok_or_else(|| Error::Name { path: path.to_owned() })
            }
            Device::Uuid(id) => Ok(Self { uuid: Some(id.clone()), ..Self::default() }),
            Device::Label(label) => Ok(Self { label: Some(label.clone()), ..Self::default() }),
            Device::PartUuid(id) => {
                Ok(Self { partition: Some(of_partuuid(id)?), ..Self::default() })
            }
        }
    }
}

fn of_name(path: &Path) -> Option<Shape> {
    let name = path.to_str()?.strip_prefix("/dev/")?;
    let (node, disk, partition) = if let Some(rest) = name.strip_prefix("nvme") {
        // nvme0n1p2: the first namespace is the only one that the scratch disk has.
        let (controller, namespace) = rest.split_once('n')?;
        let (namespace, partition) = match namespace.split_once('p') {
            Some((namespace, number)) => (namespace, Some(number)),
            None => (namespace, None),
        };
        (namespace == "1").then_some(())?;
        (Node::Nvme, controller.parse().ok()?, partition)
    } else {
        let node = match name.get(..2)? {
            "vd" => Node::Virtio,
            "sd" => Node::Scsi,
            _ => return None,
        };
        let letters = name[2..].trim_end_matches(|c: char| c.is_ascii_digit());
        let letter = letters.parse::<char>().ok().filter(char::is_ascii_lowercase)?;
        let number = &name[2 + letters.len()..];
        (node, letter as usize - 'a' as usize, (!number.is_empty()).then_some(number))
    };
    let number = partition.map(|number| number.parse().ok().filter(|n| (1..=128).contains(n)));
    let partition = match number {
        Some(number) => Some(Partition { number: number?, table: Table::Gpt(None) }),
        None => None,
    };
    // More disks than that would have to be made only to be skipped.
    (disk < 8).then_some(Shape { node: Some((node, disk)), partition, ..Shape::default() })
}

fn of_partuuid(id: &str) -> Result<Partition, Error> {
    // An MBR has a signature of 8 digits, and its partitions no ids of their own.
    let Some((signature, number)) =
        id.split_once('-').filter(|(signature, number)| signature.len() == 8 && number.len() == 2)
    else {
        return Ok(Partition { number: 1, table: Table::Gpt(Some(id.to_owned())) });
    };
    match u32::from_str_radix(number, 16) {
        Ok(number @ 1..=4) => Ok(Partition { number, table: Table::Mbr(signature.to_owned()) }),
        Ok(_) | Err(_) => Err(Error::Logical { id: id.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(device: &str) -> Option<Shape> {
        Shape::of(&device.parse().unwrap()).ok()
    }

    #[test]
    fn names_say_which_disk_and_which_partition() {
        let of = |device| {
            let Shape { node, partition, .. } = shape(device)?;
            Some((node?, partition.map(|partition| partition.number)))
        };
        assert_eq!(of("/dev/vda"), Some(((Node::Virtio, 0), None)));
        assert_eq!(of("/dev/sdb12"), Some(((Node::Scsi, 1), Some(12))));
        assert_eq!(of("/dev/nvme0n1p3"), Some(((Node::Nvme, 0), Some(3))));
        assert_eq!(of("/dev/nvme2n1"), Some(((Node::Nvme, 2), None)));
        for none in
            ["/dev/mapper/root", "/dev/sd", "/dev/sdaa1", "/dev/sdz", "/dev/nvme0n2", "/dev/vda0"]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn tags_are_given_to_the_scratch_disk() {
        assert_eq!(shape("LABEL=dumps").unwrap().label.as_deref(), Some("dumps"));
        assert_eq!(shape("UUID=AB-12").unwrap().uuid.as_deref(), Some("ab-12"));
        let partition = |device: &str| shape(device).and_then(|shape| shape.partition);
        assert_eq!(
            partition("PARTUUID=1234abcd-02"),
            Some(Partition { number: 2, table: Table::Mbr("1234abcd".into()) })
        );
        let guid = "0a1b2c3d-1111-2222-3333-444455556666";
        assert_eq!(
            partition(&format!("PARTUUID={guid}")),
            Some(Partition { number: 1, table: Table::Gpt(Some(guid.into())) })
        );
        assert_eq!(partition("PARTUUID=1234abcd-05"), None);
    }
}
