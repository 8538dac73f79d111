//! `kdump mkinitrd` as a user runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A kernel without modules: everything is built in.
fn modules_dir(dir: &Path) {
    let tree = dir.join("1.2.3");
    fs::create_dir_all(&tree).unwrap();
    let builtin = "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n";
    fs::write(tree.join("modules.builtin"), builtin).unwrap();
}

/// The smallest file that passes for a static program: an ELF header without segments.
fn static_program() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1u32.to_le_bytes());
    elf.resize(52, 0);
    elf.extend([64u16, 56, 0, 64, 0, 0].map(u16::to_le_bytes).concat());
    elf
}

fn mkinitrd(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kdump"))
        .arg("mkinitrd")
        .args(arguments)
        .args(["-o", "image", "--init", "init", "--modules-dir", "."])
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
fn the_image_has_init_and_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    modules_dir(dir.path());
    fs::write(dir.path().join("init"), static_program()).unwrap();
    let arguments =
        ["-c", "UUID=AB-CD", "-f", "ext4", "--action", "poweroff", "--path", "/dumps", "1.2.3"];
    let output = mkinitrd(dir.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = fs::read(dir.path().join("image")).unwrap();
    let text = String::from_utf8_lossy(&image);
    assert!(text.starts_with("070701"));
    for part in ["etc/kdump-capture.conf", "target = ext4:UUID=ab-cd\n", "path = /dumps\n"] {
        assert!(text.contains(part), "{part}");
    }
    assert!(text.contains("action = poweroff\n") && !text.contains("module ="));
    assert!(!dir.path().join("image.new").exists());
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    modules_dir(dir.path());
    fs::write(dir.path().join("init"), static_program()).unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["-c", "/dev/vda", "-f", "xfs", "1.2.3"], "xfs is neither a module nor built in"),
        (&["-c", "/dev/vda", "-f", "zfs", "1.2.3"], "expected ext2, ext3,"),
        (&["-c", "LABEL=x", "-f", "raw", "1.2.3"], "expected raw:/dev/NAME or"),
        (&["-c", "/dev/vda", "-c", "/dev/vdb", "-f", "ext4", "1.2.3"], "give every -c its -f"),
        (&["-c", "/dev/vda", "-f", "ext4", "--keep", "0", "1.2.3"], "a number, at least 1"),
        (&["-c", "/dev/vda", "-f", "ext4", "--action", "shell", "1.2.3"], "give a static one"),
        (&["-c", "nfs:/dumps", "-f", "ext4", "1.2.3"], "expected /dev/NAME, UUID="),
        (&["-c", "/dev/vda", "-f", "ext4", "4.5.6"], "cannot read ./4.5.6"),
        (&["-c", "/dev/vda", "-f", "ext4", "--path", "x", "1.2.3"], "starts with /"),
        (&["-c", "/dev/vda", "-f", "ext4", "--add-drivers", "lost", "1.2.3"], "lost is neither"),
        (&["-f", "ext4", "1.2.3"], "-c <DUMP_DEV>"),
    ];
    for (arguments, reason) in cases {
        let output = mkinitrd(dir.path(), arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(reason), "{arguments:?}: {message}");
        assert!(!dir.path().join("image").exists(), "{arguments:?}");
    }
}
