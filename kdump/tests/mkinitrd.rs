//! `kdump mkinitrd` as a user runs it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A kernel without modules: everything is built in.
fn modules_dir(dir: &Path) {
    let tree = dir.join("1.2.3");
    fs::create_dir_all(&tree).unwrap();
    let builtin = ["virtio_pci", "virtio_blk", "virtio_net", "ext4", "nfs"];
    let builtin: String = builtin.iter().map(|name| format!("kernel/{name}.ko\n")).collect();
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
fn a_server_is_a_target_with_a_network() {
    let dir = tempfile::tempdir().unwrap();
    modules_dir(dir.path());
    fs::write(dir.path().join("init"), static_program()).unwrap();
    let arguments = [
        "-c",
        "10.0.2.2:/dumps",
        "-f",
        "nfs",
        "--nfs-options",
        "vers=4.2,port=20490",
        "--network",
        "10.0.2.15/24,10.0.2.2,52:54:00:12:34:56",
        "1.2.3",
    ];
    let output = mkinitrd(dir.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = fs::read(dir.path().join("image")).unwrap();
    let text = String::from_utf8_lossy(&image);
    for part in [
        "target = nfs:10.0.2.2:/dumps\npath = /var/crash\noptions = vers=4.2,port=20490\n",
        "interface = 52:54:00:12:34:56\naddress = 10.0.2.15/24\ngateway = 10.0.2.2\n",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn an_image_for_a_host_has_its_client_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    modules_dir(dir.path());
    fs::write(dir.path().join("init"), static_program()).unwrap();
    for name in ["key", "host"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "comment", "-f", name])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(made.success());
    }
    let host_key = fs::read_to_string(dir.path().join("host.pub")).unwrap();
    let host_key = host_key.strip_suffix(" comment\n").unwrap();
    let arguments = [
        "-c",
        "me@10.0.2.2:/dumps",
        "-f",
        "ssh",
        "--ssh-port",
        "2222",
        "--ssh-key",
        "key",
        "--ssh-host-key",
        "host.pub",
        "1.2.3",
    ];
    let output = mkinitrd(dir.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = dir.path().join("image");
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    let pinned = format!("[10.0.2.2]:2222 {host_key}\n");
    for part in ["target = ssh:me@10.0.2.2\npath = /dumps\nport = 2222\n", &pinned] {
        assert!(text.contains(part), "{part}");
    }
    assert!(text.contains("usr/bin/ssh") && text.contains("lib/ssh/libc.so.6"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    fs::write(dir.path().join("host.pub"), "no key\n").unwrap();
    let output = mkinitrd(dir.path(), &arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("has no public key of a host"), "{message}");
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
        (&["-c", "/dev/vda", "-f", "ext4", "4.5.6"], "the kernel's modules, ./4.5.6"),
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

/// A cpio archive with a script `init`, packed: a base as small as can be.
const BASE: &[u8] = include_bytes!("../src/early/fixtures/init.gz");

#[test]
fn an_initrd_with_early_loading_is_its_owner_s_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    fs::write(path("init"), static_program()).unwrap();
    fs::write(path("base"), BASE).unwrap();
    fs::write(path("kernel"), compressed_kernel()).unwrap();
    let arguments =
        ["-i", "base", "-v", "kernel", "--base", "base", "--kexec", "init", "--append", "-x"];
    for _again in 0..2 {
        let output = mkinitrd(dir.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(path("image")).unwrap().starts_with(BASE));
        assert_eq!(path("image").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// A vmlinux for the machine of [`static_program`], packed: one PT_LOAD of 16 bytes, which are
/// those of the file header.
fn compressed_kernel() -> Vec<u8> {
    let mut elf = static_program();
    elf[32] = 64; // e_phoff
    elf[56] = 1; // e_phnum
    elf.extend([1u32, 5].map(u32::to_le_bytes).concat()); // PT_LOAD, R+X
    // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    elf.extend([0u64, 1 << 20, 1 << 20, 16, 16, 1].map(u64::to_le_bytes).concat());
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&elf).unwrap();
    packed.finish().unwrap()
}

#[test]
fn early_loading_needs_what_is_loaded_and_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    fs::write(path("init"), static_program()).unwrap();
    fs::write(path("base"), BASE).unwrap();
    fs::write(path("text"), "text\n").unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["-i", "base"], "-v <CAPTURE_KERNEL>"),
        (&["-v", "init"], "-i <CAPTURE_INITRD>"),
        (&["-i", "base", "-v", "init", "-c", "/dev/vda", "-f", "ext4"], "cannot be used with"),
        (
            &["-i", "base", "-v", "init", "9.9.9"],
            "no initrd of kernel 9.9.9 is at /boot/initrd.img-",
        ),
        (&["-i", "base", "-v", "text", "--base", "base", "--kexec", "init"], "the capture kernel"),
        (
            &["-i", "base", "-v", "init", "--base", "none", "--kexec", "init"],
            "cannot read the exist",
        ),
    ];
    for (arguments, message) in cases {
        let output = mkinitrd(dir.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(message), "{arguments:?}: {said}");
        assert!(!path("image").exists(), "{arguments:?}");
    }
}
