//! Trees of hand-made modules: an ELF file with a `.modinfo` section and nothing else.

use super::*;

/// A module as the smallest ELF64 file that has a `.modinfo` section.
fn module(modinfo: &[&str]) -> Vec<u8> {
    let section: Vec<u8> =
        modinfo.iter().flat_map(|entry| [entry.as_bytes(), b"\0"].concat()).collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let (names_at, section_at) = (64, 64 + names.len());
    let headers_at = (section_at + section.len()).next_multiple_of(8);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([1u16, 62].map(u16::to_le_bytes).concat()); // ET_REL, EM_X86_64
    elf.extend(1u32.to_le_bytes());
    elf.extend([0, 0, headers_at as u64].map(u64::to_le_bytes).concat());
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 0, 0, 64, 3, 2].map(u16::to_le_bytes).concat());
    elf.extend(names);
    elf.extend(&section);
    elf.resize(headers_at, 0);
    let headers =
        [(0u32, 0u32, 0, 0), (1, 1, section_at, section.len()), (10, 3, names_at, names.len())];
    for (name, kind, offset, size) in headers {
        elf.extend([name, kind].map(u32::to_le_bytes).concat());
        elf.extend([0, 0, offset as u64, size as u64].map(u64::to_le_bytes).concat());
        elf.extend([0u32, 0].map(u32::to_le_bytes).concat());
        elf.extend([1u64, 0].map(u64::to_le_bytes).concat());
    }
    elf
}

fn write(tree: &Path, path: &str, data: &[u8]) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// A tree as a distribution's package unpacks: without the files of `depmod`.
fn example() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[&str]); 6] = [
        ("kernel/fs/ext4.ko", &["softdep=pre: crypto-crc32c post: late", "depends=jbd2,crc16"]),
        ("kernel/fs/jbd2.ko", &["depends=", "softdep=pre: no_such_module"]),
        ("kernel/lib/crc16.ko", &["depends="]),
        ("kernel/lib/late.ko", &["depends=ext4"]),
        ("kernel/crypto/crc32c-intel.ko", &["alias=crypto-crc32c", "alias=cpu:type:*"]),
        ("kernel/drivers/block/needs_lost.ko", &["depends=lost"]),
    ];
    for (path, modinfo) in files {
        write(dir.path(), path, &module(modinfo));
    }
    write(dir.path(), "modules.builtin", b"kernel/block/virtio-core.ko\n");
    dir
}

fn resolved(tree: &Path, names: &[&str]) -> Vec<String> {
    let tree = ModuleTree::open(tree).unwrap();
    resolve(&tree, names).unwrap().into_iter().map(|module| module.name).collect()
}

#[test]
fn dependencies_come_before_and_late_ones_after() {
    let dir = example();
    let expected = ["crc32c_intel", "jbd2", "crc16", "ext4", "late"];
    assert_eq!(resolved(dir.path(), &["ext4", "jbd2"]), expected);
}

#[test]
fn built_in_modules_are_left_out() {
    let dir = example();
    assert_eq!(resolved(dir.path(), &["virtio_core"]), Vec::<String>::new());
    assert!(ModuleTree::open(dir.path()).unwrap().is_builtin("virtio-core"));
}

#[test]
fn a_missing_module_is_named() {
    let dir = example();
    let tree = ModuleTree::open(dir.path()).unwrap();
    for name in ["lost", "needs_lost"] {
        let error = resolve(&tree, &[name]).unwrap_err();
        assert!(matches!(error, Error::NotFound { name, .. } if name == "lost"));
    }
}

#[test]
fn updates_replace_the_kernels_own() {
    let dir = example();
    write(dir.path(), "updates/dkms/jbd2.ko", &module(&["depends=crc16"]));
    let tree = ModuleTree::open(dir.path()).unwrap();
    let modules = resolve(&tree, &["jbd2"]).unwrap();
    let paths: Vec<_> = modules.iter().map(|module| module.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["kernel/lib/crc16.ko", "updates/dkms/jbd2.ko"]);
}

#[test]
fn the_index_of_depmod_decides_where_it_exists() {
    let dir = example();
    write(dir.path(), "updates/jbd2.ko", &module(&["depends=crc16"]));
    write(dir.path(), "modules.dep", b"kernel/fs/jbd2.ko:\nkernel/lib/late.ko:\n");
    write(dir.path(), "modules.alias", b"# comment\nalias fs-x late\nalias pci:v* jbd2\n");
    assert_eq!(resolved(dir.path(), &["jbd2"]), ["jbd2"]);
    let tree = ModuleTree::open(dir.path()).unwrap();
    assert!(
        matches!(resolve(&tree, &["fs-x"]), Err(Error::NotFound { name, .. }) if name == "ext4")
    );
    assert!(resolve(&tree, &["pci:v*"]).is_err());
}

#[test]
fn compressed_modules_come_out_unpacked() {
    let dir = example();
    let plain = module(&["depends=packed_zst"]);
    write(dir.path(), "kernel/packed_xz.ko.xz", &compress("xz", &["--check=crc32", "-c"], &plain));
    let other = module(&["depends="]);
    write(dir.path(), "kernel/packed-zst.ko.zst", &compress("zstd", &["-c"], &other));
    let tree = ModuleTree::open(dir.path()).unwrap();
    let modules = resolve(&tree, &["packed_xz"]).unwrap();
    let found: Vec<_> =
        modules.iter().map(|m| (m.path.to_str().unwrap(), m.data.as_slice())).collect();
    assert_eq!(
        found,
        [("kernel/packed-zst.ko", other.as_slice()), ("kernel/packed_xz.ko", plain.as_slice())]
    );
}

#[test]
fn damaged_modules_are_named() {
    let dir = example();
    write(dir.path(), "kernel/cut.ko", &module(&["depends="])[..80]);
    write(dir.path(), "kernel/noise.ko.xz", b"noise");
    write(dir.path(), "kernel/noise2.ko.zst", b"noise");
    write(dir.path(), "kernel/noise3.ko.gz", b"noise");
    let tree = ModuleTree::open(dir.path()).unwrap();
    let error = |name| resolve(&tree, &[name]).unwrap_err();
    assert!(matches!(error("cut"), Error::NotAModule { path, .. } if path.ends_with("cut.ko")));
    assert!(matches!(error("noise"), Error::Unpack { .. }));
    assert!(matches!(error("noise2"), Error::Unpack { .. }));
    assert!(matches!(error("noise3"), Error::Unpack { .. }));
}

/// Compresses with the tool a distribution compresses its modules with.
fn compress(tool: &str, arguments: &[&str], data: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("module");
    fs::write(&file, data).unwrap();
    let output = std::process::Command::new(tool).args(arguments).arg(&file).output().unwrap();
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
