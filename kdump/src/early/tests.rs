use super::*;
use capture::early::{ORIGINAL_INIT, PROGRAM};

/// `cpio -o -H newc` of a script `init` ("#!/bin/sh\nexit 0\n", 0755), packed by the reference
/// tools (Debian 12): `gzip -9n`, `zstd -19`, `xz --check=crc32`, `lz4 -l -9`,
/// `xz --format=lzma`, `bzip2 -9`.
const PACKED: [(&str, &[u8]); 6] = [
    ("gzip", include_bytes!("fixtures/init.gz")),
    ("zstd", include_bytes!("fixtures/init.zst")),
    ("xz", include_bytes!("fixtures/init.xz")),
    ("lz4", include_bytes!("fixtures/init.lz4")),
    ("lzma", include_bytes!("fixtures/init.lzma")),
    ("bzip2", include_bytes!("fixtures/init.bz2")),
];

fn script() -> OriginalInit {
    OriginalInit::File { mode: 0o755, data: b"#!/bin/sh\nexit 0\n".to_vec() }
}

fn archive_of(build: impl FnOnce(&mut Initramfs) -> &mut Initramfs) -> Vec<u8> {
    let (mut archive, mut bytes) = (Initramfs::new(), Vec::new());
    build(&mut archive);
    archive.write_to(&mut bytes).unwrap();
    bytes
}

fn microcode() -> Vec<u8> {
    archive_of(|archive| {
        archive.file("kernel/x86/microcode/GenuineIntel.bin", 0o644, *b"microcode")
    })
}

/// An ELF file for x86_64 with one PT_LOAD: a static program, or a vmlinux.
fn program() -> Vec<u8> {
    let mut elf = vec![0; 64 + 56 + 16];
    let mut put = |offset: usize, bytes: &[u8]| elf[offset..][..bytes.len()].copy_from_slice(bytes);
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &[2, 0, 62, 0, 1]); // ET_EXEC, EM_X86_64, version
    put(24, &0x10_0000_u64.to_le_bytes()); // e_entry
    put(32, &64_u64.to_le_bytes()); // e_phoff
    put(52, &[64, 0, 56, 0, 1]); // sizes of the headers, number of program headers
    put(64, &[1, 0, 0, 0, 5]); // PT_LOAD, R+X
    put(72, &120_u64.to_le_bytes()); // p_offset
    for (field, value) in [(80, 0x10_0000), (88, 0x10_0000), (96, 16), (104, 16), (112, 1_u64)] {
        put(field, &value.to_le_bytes()); // p_vaddr p_paddr p_filesz p_memsz p_align
    }
    elf
}

fn early(existing: &[u8]) -> Result<Vec<u8>, Error> {
    let (program, kernel) = (program(), program());
    let initrd = archive_of(|archive| archive.file("init", 0o755, program.clone()).dir("x"));
    let parts = Parts {
        kernel: &kernel,
        initrd: &initrd,
        kexec: &program,
        program: &program,
        append: "kdump.action=halt",
    };
    let mut bytes = Vec::new();
    EarlyInitrd::new(existing, &parts)?.write_to(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn the_init_of_every_compression_is_found() {
    for (name, packed) in PACKED {
        for existing in [packed.to_vec(), [microcode(), vec![0; 320], packed.to_vec()].concat()] {
            let Base { bytes, init, .. } = base::read(&existing).unwrap();
            assert_eq!((bytes, init), (&existing[..], script()), "{name}");
        }
    }
}

#[test]
fn the_existing_initrd_is_kept_and_one_archive_follows() {
    for (name, packed) in PACKED {
        let made = early(packed).unwrap();
        assert!(made.starts_with(packed), "{name}");
        let archive = made[packed.len()..].iter().position(|byte| *byte != 0).unwrap();
        assert!(archive >= 4, "{name}: {archive} zeroes do not end an LZ4 stream");
        assert!((packed.len() + archive).is_multiple_of(4), "{name}");

        let entries: Vec<_> =
            cpio::Entries::of(&made[packed.len() + archive..]).map(Result::unwrap).collect();
        let of = |path: &str| {
            let path = path.trim_start_matches('/').as_bytes();
            entries.iter().find(|entry| entry.path == path).unwrap()
        };
        assert_eq!((of("init").mode, of("init").data), (0o120_777, PROGRAM.as_bytes()));
        assert_eq!(of(ORIGINAL_INIT).mode, 0o100_755);
        assert_eq!(of(ORIGINAL_INIT).data, b"#!/bin/sh\nexit 0\n");
        assert_eq!(of(APPEND).data, b"kdump.action=halt");
        assert_eq!(entries.last().unwrap().path, b"init");
    }
}

#[test]
fn early_loading_is_replaced_by_early_loading() {
    for (name, packed) in PACKED {
        let once = early(packed).unwrap();
        assert!(early(&once).unwrap() == once, "{name}");
        let more = [&once[..], &microcode()].concat();
        let refused = early(&more);
        let offset = once.len();
        assert!(
            matches!(&refused, Err(Error::Base(base::Error::NotLast { offset: o })) if *o == offset),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_link_stays_a_link_and_the_last_init_counts() {
    let dracut = archive_of(|archive| archive.symlink("init", "usr/lib/systemd/systemd"));
    let link = OriginalInit::Link { target: "usr/lib/systemd/systemd".into() };
    assert_eq!(base::read(&dracut).unwrap().init, link);
    let both = [&dracut[..], &[0; 4], PACKED[0].1].concat();
    assert_eq!(base::read(&both).unwrap().init, script());
    let both = [PACKED[1].1, &[0; 4][..4 - PACKED[1].1.len() % 4], &dracut].concat();
    assert_eq!(base::read(&both).unwrap().init, link);
}

#[test]
fn an_init_with_several_names_is_found_by_its_inode() {
    let mut archive =
        archive_of(|archive| archive.file("init", 0o755, *b"").file("z", 0o755, *b"#!x"));
    // Both are inode 7 with two names: only the last entry has the content.
    for (entry, _) in archive.clone().windows(6).enumerate().filter(|(_, w)| *w == b"070701") {
        if &archive[entry + 14..entry + 22] == b"000081ed" {
            archive[entry + 6..entry + 14].copy_from_slice(b"00000007");
            archive[entry + 38..entry + 46].copy_from_slice(b"00000002");
        }
    }
    let init = OriginalInit::File { mode: 0o755, data: b"#!x".to_vec() };
    assert_eq!(base::read(&archive).unwrap().init, init);
}

#[test]
fn what_is_no_initrd_is_refused() {
    let read = |bytes: &[u8]| base::read(bytes).unwrap_err();
    assert!(matches!(read(b""), base::Error::NoInit));
    assert!(matches!(read(&microcode()), base::Error::NoInit));
    assert!(matches!(read(b"\0\0\0\0text"), base::Error::Unknown { offset: 4 }));
    assert!(matches!(read(&[&[0][..], &microcode()].concat()), base::Error::Unknown { offset: 1 }));
    let node = archive_of(|archive| archive.node("init", 0o600, Device::Character, 1, 1));
    assert!(matches!(read(&node), base::Error::InitKind { mode: 0o020_600 }));
    for (name, packed) in PACKED {
        for length in 1..packed.len() {
            // An LZMA stream may be whole without its last byte.
            let cut = base::read(&packed[..length]);
            assert!(cut.is_err() || cut.unwrap().init == script(), "{name} cut at {length}");
        }
    }
}

#[test]
fn parts_that_would_fail_at_boot_are_refused() {
    let good = program();
    let initrd = archive_of(|archive| archive.file("init", 0o755, good.clone()));
    let parts = Parts { kernel: &good, initrd: &initrd, kexec: &good, program: &good, append: "" };
    let refused = |parts| EarlyInitrd::new(PACKED[0].1, &parts).unwrap_err();
    assert!(matches!(refused(Parts { kernel: b"text", ..parts }), Error::Kernel(_)));
    assert!(matches!(refused(Parts { initrd: b"text", ..parts }), Error::CaptureInitrd(_)));
    let script = b"#!/bin/sh\n------------------";
    assert!(matches!(
        refused(Parts { kexec: script, ..parts }),
        Error::Program { program: "kexec", .. }
    ));
    assert!(matches!(refused(Parts { program: script, ..parts }), Error::Program { .. }));
}

#[test]
fn what_works_together_is_for_one_machine() {
    let of_machine = |machine: u8| {
        let mut elf = program();
        elf[18] = machine;
        elf
    };
    let (x86_64, ppc64le) = (of_machine(62), of_machine(21));
    let initrd = |init: &[u8]| archive_of(|archive| archive.file("init", 0o755, init));
    let ours = initrd(&x86_64);
    let script = initrd(b"#!/bin/sh\n----------------");
    let theirs = initrd(&ppc64le);
    let parts =
        Parts { kernel: &x86_64, initrd: &ours, kexec: &x86_64, program: &x86_64, append: "" };
    let made = |parts| EarlyInitrd::new(PACKED[0].1, &parts).map(drop).map_err(|e| e.to_string());
    assert_eq!(made(parts), Ok(()));
    // Somebody else's capture initramfs begins with a script.
    assert_eq!(made(Parts { initrd: &script, ..parts }), Ok(()));
    for (wrong, named) in [
        (Parts { initrd: &theirs, ..parts }, "/init of the capture initramfs"),
        (Parts { kexec: &ppc64le, ..parts }, "kexec"),
        (Parts { program: &ppc64le, ..parts }, "kdump-capture"),
    ] {
        let refused = made(wrong).unwrap_err();
        let wanted = format!("{named} is for ppc64le, and the capture kernel for x86_64");
        assert!(refused.contains(&wanted), "{refused}");
    }
}
