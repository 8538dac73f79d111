//! Devices as files: a directory for `/sys/class/block` and one for `/dev`.

use std::os::unix::fs::{FileExt, symlink};

use super::*;

const UUID: [u8; 16] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 0xff];
const UUID_TEXT: &str = "12345678-9abc-def0-0102-0304050607ff";
const GUID_TEXT: &str = "78563412-bc9a-f0de-0102-0304050607ff";

fn filesystem(label: &[u8], incompat: u32) -> Vec<u8> {
    let mut disk = vec![0; 4096];
    disk[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
    disk[1024 + 0x60..1024 + 0x64].copy_from_slice(&incompat.to_le_bytes());
    disk[1024 + 0x68..1024 + 0x78].copy_from_slice(&UUID);
    disk[1024 + 0x78..1024 + 0x78 + label.len()].copy_from_slice(label);
    disk
}

fn gpt(block_size: usize) -> Vec<u8> {
    let mut disk = vec![0; 16 * 4096];
    let header = &mut disk[block_size..];
    header[..8].copy_from_slice(b"EFI PART");
    header[72..80].copy_from_slice(&3u64.to_le_bytes());
    header[80..84].copy_from_slice(&2u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    let second = 3 * block_size + 128;
    disk[second + 16..second + 32].copy_from_slice(&UUID);
    disk
}

fn file(content: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// `vda` is a disk without table, `vdb` one with a GPT whose second partition is `vdb2`.
fn machine() -> (tempfile::TempDir, Devices) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["class", "dev", "devices/vda", "devices/vdb/vdb2"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    for (name, at) in [("vda", "vda"), ("vdb", "vdb"), ("vdb2", "vdb/vdb2")] {
        symlink(path("devices").join(at), path("class").join(name)).unwrap();
    }
    fs::write(path("devices/vdb/vdb2/partition"), "2\n").unwrap();
    fs::write(path("dev/vda"), vec![0; 4096]).unwrap();
    fs::write(path("dev/vdb"), gpt(512)).unwrap();
    fs::write(path("dev/vdb2"), filesystem(b"dumps", 0)).unwrap();
    let devices = Devices { class: path("class"), nodes: path("dev") };
    (dir, devices)
}

#[test]
fn the_target_is_found_by_every_name() {
    let (dir, devices) = machine();
    let node = dir.path().join("dev/vdb2");
    for target in [
        Device::Path(node.clone()),
        Device::Uuid(UUID_TEXT.into()),
        Device::Label("dumps".into()),
        Device::PartUuid(GUID_TEXT.into()),
    ] {
        assert_eq!(devices.wait_for(&target, Duration::ZERO).unwrap(), node, "{target}");
    }
}

#[test]
fn a_missing_target_is_told_with_what_there_is() {
    let (_dir, devices) = machine();
    let error = devices.wait_for(&Device::Label("other".into()), Duration::ZERO).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("LABEL=other after 0 seconds"), "{message}");
    assert!(message.contains(&format!("vda, vdb, vdb2 (UUID={UUID_TEXT} LABEL=dumps)")));
}

#[test]
fn a_target_that_appears_late_is_found() {
    let (dir, devices) = machine();
    let late = dir.path().join("dev/late");
    let target = Device::Path(late.clone());
    thread::scope(|scope| {
        let found = scope.spawn(|| devices.wait_for(&target, Duration::from_secs(30)));
        thread::sleep(INTERVAL);
        fs::rename(dir.path().join("dev/vdb2"), &late).unwrap();
        assert_eq!(found.join().unwrap().unwrap(), late);
    });
}

#[test]
fn a_target_with_another_file_system_is_refused() {
    let (dir, devices) = machine();
    let message = |name: &str, filesystem| {
        let target = Device::Path(dir.path().join(name));
        let refused = devices.wait_for_filesystem(&target, filesystem, Duration::ZERO);
        refused.map_err(|error| error.to_string())
    };
    assert!(message("dev/vdb2", Filesystem::Ext2).is_ok());
    let none = message("dev/vda", Filesystem::Ext4).unwrap_err();
    assert!(none.contains("vda has no file system instead of ext2, ext3 or ext4"), "{none}");
    let other = message("dev/vdb2", Filesystem::Xfs).unwrap_err();
    assert!(other.contains("vdb2 has ext2, ext3 or ext4 instead of xfs"), "{other}");
}

#[test]
fn superblocks_are_told_from_other_blocks() {
    let read = |content: &[u8]| Superblock::read(&file(content)).unwrap();
    let full = read(&filesystem(b"sixteen letters!", 0)).unwrap();
    assert_eq!((full.uuid.as_str(), full.label.as_str()), (UUID_TEXT, "sixteen letters!"));
    assert_eq!(read(&filesystem(b"", 0x2)).unwrap().label, "");
    assert_eq!(read(&filesystem(b"journal", 0x8)), None);
    assert_eq!(read(&[0; 4096]), None);
    assert_eq!(read(&filesystem(b"cut", 0)[..1200]), None);
}

/// A device of zeros but for these bytes at these offsets.
fn device(parts: &[(usize, &[u8])]) -> File {
    let mut disk = vec![0; 72 << 10];
    for (at, bytes) in parts {
        disk[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    file(&disk)
}

#[test]
fn every_family_has_its_superblock() {
    let btrfs = 64 << 10;
    let fat = &[0x55, 0xaa][..];
    let found = |parts: &[(usize, &[u8])]| {
        let found = Superblock::read(&device(parts)).unwrap().unwrap();
        (found.family, found.uuid, found.label)
    };
    let named = |family, uuid: &str, label: &str| (family, uuid.to_owned(), label.to_owned());
    assert_eq!(
        found(&[(0, b"XFSB"), (32, &UUID), (108, b"dumps")]),
        named(Family::Xfs, UUID_TEXT, "dumps")
    );
    assert_eq!(
        found(&[(btrfs + 0x40, b"_BHRfS_M"), (btrfs + 0x20, &UUID), (btrfs + 0x12b, b"dumps")]),
        named(Family::Btrfs, UUID_TEXT, "dumps")
    );
    let number = &[0x78, 0x56, 0x34, 0xab][..];
    assert_eq!(
        found(&[(0x1fe, fat), (0x43, number), (0x47, b"DUMPS      FAT32   ")]),
        named(Family::Fat, "ab34-5678", "DUMPS")
    );
    assert_eq!(
        found(&[(0x1fe, fat), (0x27, number), (0x2b, b"NO NAME    FAT16   ")]),
        named(Family::Fat, "ab34-5678", "")
    );
    // A boot sector with a partition table has the same end.
    assert_eq!(Superblock::read(&device(&[(0x1fe, fat)])).unwrap(), None);
}

#[test]
fn partition_uuids_come_from_both_kinds_of_table() {
    let partuuid = |content: &[u8], number| partition_table::partuuid(&file(content), number);
    for block_size in [512, 4096] {
        let disk = gpt(block_size);
        assert_eq!(partuuid(&disk, 2).unwrap().as_deref(), Some(GUID_TEXT));
        for unused in [0, 1, 3] {
            assert_eq!(partuuid(&disk, unused).unwrap(), None);
        }
    }
    let mut mbr = vec![0; 512];
    mbr[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
    assert_eq!(partuuid(&mbr, 1).unwrap(), None);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(partuuid(&mbr, 10).unwrap().as_deref(), Some("1234abcd-0a"));
    let mut wild = gpt(512);
    wild[512 + 72..512 + 80].fill(0xff);
    assert_eq!(partuuid(&wild, 2).unwrap(), None);
}
