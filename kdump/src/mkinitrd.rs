//! The capture image: the `/init` that saves a dump, its configuration, and the modules it needs.

use std::path::Path;

use capture::config::{self, Config, Filesystem, Target};
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PT_INTERP};
use object::read::FileKind;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::initramfs::{Device, Initramfs};
use crate::modules::{self, ModuleTree};

/// What drives the disk of a virtual machine; taken when the target is not on this machine.
pub const DEFAULT_DRIVERS: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A module is missing or damaged.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// The init program has damaged ELF headers.
    #[error("the init program is not a well-formed ELF file")]
    Init(#[from] object::Error),
    /// The init program is something else.
    #[error("the init program is not an ELF file")]
    NotElf,
    /// The init program needs a dynamic loader.
    #[error("the init program is not static: the image has no libraries for it")]
    Dynamic,
    /// The target is none.
    #[error("{device:?} is not a dump target that is supported yet: expected {expected}")]
    Target {
        /// The device as given.
        device: String,
        /// What can be given.
        expected: &'static str,
    },
    /// The target is named by a link that udev makes.
    #[error(
        "{path} is a link that the capture kernel does not have: \
         name the target by UUID=, LABEL=, PARTUUID= or by its device"
    )]
    Link {
        /// The path as given.
        path: String,
    },
}

/// Builds a capture image with `init` (the content of a static `kdump-capture`) and with `drivers`,
/// the target's file system and all they need from `tree`.
///
/// The modules of `config` are replaced by what was found.
pub fn capture_image(
    init: &[u8],
    mut config: Config,
    tree: &ModuleTree,
    drivers: &[&str],
) -> Result<Initramfs, Error> {
    check_static(init)?;
    let mut wanted = drivers.to_vec();
    wanted.push(filesystem_module(tree, config.filesystem));
    let modules = modules::resolve(tree, &wanted)?;
    config.modules = modules.iter().map(|module| module.path.clone()).collect();

    let mut image = Initramfs::new();
    image
        .file("init", 0o755, init)
        .file(config::PATH, 0o644, config.to_string())
        .node("dev/console", 0o600, Device::Character, 5, 1)
        .node("dev/null", 0o666, Device::Character, 1, 3)
        .dir("proc")
        .dir("sys");
    for module in modules {
        let path = Path::new(config::MODULES).join(&module.path);
        image.file(&path.to_string_lossy(), 0o644, module.data);
    }
    Ok(image)
}

/// The target that `device` names: a node, a tag, or a link of udev that stands for a tag.
pub fn target(device: &str) -> Result<Target, Error> {
    let link = || Error::Link { path: device.to_owned() };
    let tag = match device.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/')) {
        // udev writes some characters of a label as \xNN.
        Some((_, name)) if name.contains('\\') => return Err(link()),
        Some(("uuid", id)) => format!("UUID={id}"),
        Some(("label", label)) => format!("LABEL={label}"),
        Some(("partuuid", id)) => format!("PARTUUID={id}"),
        Some((_, _)) => return Err(link()),
        None => device.to_owned(),
    };
    tag.parse().map_err(|expected| Error::Target { device: device.to_owned(), expected })
}

fn filesystem_module(tree: &ModuleTree, filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::Ext2 if tree.has("ext2") => "ext2",
        // ext4 drives all three.
        Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => "ext4",
    }
}

/// A dynamic init would be found out after the crash, by a panic of the capture kernel.
fn check_static(init: &[u8]) -> Result<(), Error> {
    let dynamic = match FileKind::parse(init)? {
        FileKind::Elf32 => has_interpreter::<FileHeader32<Endianness>>(init)?,
        FileKind::Elf64 => has_interpreter::<FileHeader64<Endianness>>(init)?,
        _ => return Err(Error::NotElf),
    };
    if dynamic { Err(Error::Dynamic) } else { Ok(()) }
}

fn has_interpreter<E: FileHeader<Endian = Endianness>>(program: &[u8]) -> object::Result<bool> {
    let header = E::parse(program)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, program)?;
    Ok(segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_of_udev_become_the_tags_they_stand_for() {
        let named = |device| target(device).map(|target| target.to_string());
        assert_eq!(named("/dev/vda1").unwrap(), "/dev/vda1");
        assert_eq!(named("UUID=1-2").unwrap(), "UUID=1-2");
        assert_eq!(named("/dev/disk/by-uuid/1-2").unwrap(), "UUID=1-2");
        assert_eq!(named("/dev/disk/by-label/dumps").unwrap(), "LABEL=dumps");
        assert_eq!(named("/dev/disk/by-partuuid/1-02").unwrap(), "PARTUUID=1-02");
        for unusable in ["/dev/disk/by-label/my\\x20disk", "/dev/disk/by-id/virtio-1"] {
            assert!(matches!(named(unusable), Err(Error::Link { .. })), "{unusable}");
        }
        for other in ["vda1", "", "ID=1", "nfs:/dumps"] {
            assert!(matches!(named(other), Err(Error::Target { .. })), "{other}");
        }
    }

    #[test]
    fn init_must_be_a_static_program() {
        let dir = tempfile::tempdir().unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        let build = |init: &[u8]| capture_image(init, Config::default(), &tree, &[]);
        // The test itself is a dynamic program.
        let dynamic = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(build(&dynamic), Err(Error::Dynamic)));
        assert!(matches!(build(b"#!/bin/sh\n-----------------"), Err(Error::Init(_))));
        assert!(matches!(build(b""), Err(Error::Init(_))));
    }
}
