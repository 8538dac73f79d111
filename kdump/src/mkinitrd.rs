//! The capture image: the `/init` that saves a dump, its configuration, and the modules it needs.

pub mod command;
pub mod compression;
mod network;
pub mod sources;

use std::fmt;
use std::iter;
use std::path::Path;

use capture::config::{self, Action, Config, Filesystem, Target};
use object::Endianness;
use object::elf::{EM_386, EM_PPC64, EM_X86_64, FileHeader32, FileHeader64, Machine, PT_INTERP};
use object::read::FileKind;
use object::read::elf::{FileHeader, ProgramHeader};
use purgatorio::facts::Arch;

use crate::initramfs::{Device, Initramfs};
use crate::modules::{self, Module, ModuleTree};

/// What drives the disk of a virtual machine; taken when the target is not on this machine.
const DEFAULT_DRIVERS: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// What drives the disk that a POWER hypervisor gives its guests, where the kernel has it.
const POWER_DRIVERS: [&str; 2] = ["ibmvscsi", "sd_mod"];

/// Of these, FAT asks for two by the kernel's configuration (`FAT_DEFAULT_CODEPAGE` and
/// `FAT_DEFAULT_IOCHARSET`, fs/fat/Kconfig, Linux 6.1): distributions choose among them.
const FAT_CHARSETS: [&str; 4] = ["nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"];

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
    /// The init program cannot run on the kernel.
    #[error(
        "the init program is for {init}, the kernel's modules are for {modules}: \
         give the kdump-capture of that machine with --init"
    )]
    OtherMachine {
        /// What the program is for.
        init: MachineName,
        /// What the modules are for.
        modules: MachineName,
    },
    /// The target is none.
    #[error("{kind} on {place:?} is not a dump target: expected {expected}")]
    Target {
        /// The file system, or what else it is, as given.
        kind: String,
        /// Where, as given.
        place: String,
        /// What can be given.
        expected: &'static str,
    },
    /// The image would have to start what it does not have.
    #[error("an action of the image is `shell`, and it has none: give a static one with --shell")]
    NoShell,
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

/// What drives the disk of a virtual machine with the kernel of `tree`.
pub fn default_drivers(tree: &ModuleTree) -> Vec<String> {
    // Only kernels for POWER have a driver for its hypervisor's disks.
    let power = if tree.has(POWER_DRIVERS[0]) { &POWER_DRIVERS[..] } else { &[] };
    DEFAULT_DRIVERS.iter().chain(power).map(|driver| (*driver).to_owned()).collect()
}

/// Builds a capture image with `init` (the content of a static `kdump-capture`), with `shell` (that
/// of a static shell) where there is one, and with `drivers`, the targets' file systems and all they
/// need from `tree`.
///
/// The modules of `config` are replaced by what was found.
pub fn capture_image(
    init: &[u8],
    shell: Option<&[u8]>,
    mut config: Config,
    tree: &ModuleTree,
    drivers: &[&str],
) -> Result<Initramfs, Error> {
    check_static(init)?;
    let shells = [Some(config.action), config.on_failure.action];
    if shell.is_none() && shells.contains(&Some(Action::Shell)) {
        return Err(Error::NoShell);
    }
    let mut wanted = drivers.to_vec();
    wanted.extend(config.targets.iter().flat_map(|target| filesystem_modules(tree, target)));
    let modules = modules::resolve(tree, &wanted)?;
    if let Some(module) = modules.first() {
        check_same_machine(init, module)?;
    }
    config.modules = modules.iter().map(|module| module.path.clone()).collect();

    let mut image = Initramfs::new();
    image
        .file("init", 0o755, init)
        .file(config::PATH, 0o644, config.to_string())
        .node("dev/console", 0o600, Device::Character, 5, 1)
        .node("dev/null", 0o666, Device::Character, 1, 3)
        .dir("proc")
        .dir("sys");
    if let Some(shell) = shell {
        check_static(shell)?;
        image.file(config::SHELL, 0o755, shell);
    }
    for module in modules {
        let path = Path::new(config::MODULES).join(&module.path);
        image.file(&path.to_string_lossy(), 0o644, module.data);
    }
    Ok(image)
}

/// The target of `kind` (a file system, `raw`, `nfs`, `ssh`) at `place`. A link of udev stands for
/// the tag that it is named by.
pub fn target(kind: &str, place: &str) -> Result<Target, Error> {
    let link = || Error::Link { path: place.to_owned() };
    let tag = match place.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/')) {
        // udev writes some characters of a label as \xNN.
        Some((_, name)) if name.contains('\\') => return Err(link()),
        Some(("uuid", id)) => format!("UUID={id}"),
        Some(("label", label)) => format!("LABEL={label}"),
        Some(("partuuid", id)) => format!("PARTUUID={id}"),
        Some((_, _)) => return Err(link()),
        None => place.to_owned(),
    };
    Target::new(kind, &tag).map_err(|expected| Error::Target {
        kind: kind.to_owned(),
        place: place.to_owned(),
        expected,
    })
}

/// The module of the target's file system, and what it asks user space for while it mounts: the
/// capture kernel has no modprobe.
fn filesystem_modules(tree: &ModuleTree, target: &Target) -> Vec<&'static str> {
    let filesystem = match target {
        Target::Filesystem { filesystem, .. } => filesystem,
        Target::Nfs { .. } => return nfs_modules(tree),
        Target::Raw { .. } | Target::Ssh { .. } => return Vec::new(),
    };
    match filesystem {
        Filesystem::Ext2 if tree.has("ext2") => vec!["ext2"],
        // ext4 drives all three.
        Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => vec!["ext4"],
        Filesystem::Xfs => vec!["xfs"],
        Filesystem::Btrfs => vec!["btrfs"],
        Filesystem::Vfat => {
            let charsets = FAT_CHARSETS.into_iter().filter(|name| tree.has(name));
            iter::once("vfat").chain(charsets).collect()
        }
    }
}

/// The client and the versions of the protocol that the kernel has.
fn nfs_modules(tree: &ModuleTree) -> Vec<&'static str> {
    let versions = ["nfsv4", "nfsv3"].into_iter().filter(|version| tree.has(version));
    iter::once("nfs").chain(versions).collect()
}

/// A dynamic init would be found out after the crash, by a panic of the capture kernel.
pub(crate) fn check_static(init: &[u8]) -> Result<(), Error> {
    let dynamic = match FileKind::parse(init)? {
        FileKind::Elf32 => has_interpreter::<FileHeader32<Endianness>>(init)?,
        FileKind::Elf64 => has_interpreter::<FileHeader64<Endianness>>(init)?,
        _ => return Err(Error::NotElf),
    };
    if dynamic { Err(Error::Dynamic) } else { Ok(()) }
}

/// The init of another machine would be found out after the crash as well.
fn check_same_machine(init: &[u8], module: &Module) -> Result<(), Error> {
    let init = machine_of(init)?;
    let modules = machine_of(&module.data)?;
    if init.runs_on(modules) { Ok(()) } else { Err(Error::OtherMachine { init, modules }) }
}

pub(crate) fn machine_of(file: &[u8]) -> Result<MachineName, Error> {
    match FileKind::parse(file)? {
        FileKind::Elf32 => Ok(MachineName::of::<FileHeader32<Endianness>>(file)?),
        FileKind::Elf64 => Ok(MachineName::of::<FileHeader64<Endianness>>(file)?),
        _ => Err(Error::NotElf),
    }
}

/// What an ELF file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineName {
    machine: Machine,
    is_64: bool,
    endianness: Endianness,
}

impl MachineName {
    /// The machine of a dump.
    pub const fn new(machine: Machine, is_64: bool, endianness: Endianness) -> Self {
        Self { machine, is_64, endianness }
    }

    fn of<E: FileHeader<Endian = Endianness>>(file: &[u8]) -> object::Result<Self> {
        let header = E::parse(file)?;
        let endianness = header.endian()?;
        Ok(Self { machine: header.e_machine(endianness), is_64: header.is_type_64(), endianness })
    }

    /// Whether a kernel for the machine `kernel` runs programs of this one: x86_64 runs those of
    /// i386 too.
    pub(crate) fn runs_on(self, kernel: Self) -> bool {
        self == kernel || (self.machine == EM_386 && kernel.machine == EM_X86_64)
    }

    /// The architecture; `None` if this project has nothing for it.
    pub fn arch(&self) -> Option<Arch> {
        match (self.machine, self.endianness) {
            (EM_X86_64, _) => Some(Arch::X86_64),
            (EM_386, _) => Some(Arch::I386),
            (EM_PPC64, Endianness::Little) => Some(Arch::Ppc64le),
            (EM_PPC64, Endianness::Big) => Some(Arch::Ppc64),
            (Machine(_), _) => None,
        }
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch() {
            Some(arch) => f.write_str(arch.name()),
            None => write!(f, "ELF machine {}", self.machine.0),
        }
    }
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
        let named = |device| target("ext4", device).map(|target| target.to_string());
        assert_eq!(named("/dev/vda1").unwrap(), "ext4:/dev/vda1");
        assert_eq!(named("UUID=1-2").unwrap(), "ext4:UUID=1-2");
        assert_eq!(named("/dev/disk/by-uuid/1-2").unwrap(), "ext4:UUID=1-2");
        assert_eq!(named("/dev/disk/by-label/dumps").unwrap(), "ext4:LABEL=dumps");
        assert_eq!(named("/dev/disk/by-partuuid/1-02").unwrap(), "ext4:PARTUUID=1-02");
        for unusable in ["/dev/disk/by-label/my\\x20disk", "/dev/disk/by-id/virtio-1"] {
            assert!(matches!(named(unusable), Err(Error::Link { .. })), "{unusable}");
        }
        for other in ["vda1", "", "ID=1", "nfs:/dumps"] {
            assert!(matches!(named(other), Err(Error::Target { .. })), "{other}");
        }
    }

    /// An ELF header and nothing else, of machine 62 or another.
    fn elf(class: u8, data: u8, machine: u16) -> Vec<u8> {
        let mut elf = vec![0x7f, b'E', b'L', b'F', class, data, 1];
        elf.resize(16, 0);
        let word = if data == 2 { u16::to_be_bytes } else { u16::to_le_bytes };
        elf.extend([2, machine].map(word).concat());
        elf.resize(64, 0);
        elf
    }

    #[test]
    fn init_must_be_for_the_modules_machine() {
        let (x86_64, i386) = (elf(2, 1, 62), elf(1, 1, 3));
        let (ppc64le, ppc64) = (elf(2, 1, 21), elf(2, 2, 21));
        let check = |init: &[u8], module: &[u8]| {
            let module = Module { name: "m".into(), path: "m.ko".into(), data: module.to_vec() };
            check_same_machine(init, &module).map_err(|error| error.to_string())
        };
        for same in [&x86_64, &i386, &ppc64le, &ppc64] {
            assert_eq!(check(same, same), Ok(()));
        }
        assert_eq!(check(&i386, &x86_64), Ok(()));
        let reason = check(&x86_64, &i386).unwrap_err();
        assert!(reason.contains("is for x86_64, the kernel's modules are for i386"), "{reason}");
        let reason = check(&ppc64, &ppc64le).unwrap_err();
        assert!(reason.contains("is for ppc64, the kernel's modules are for ppc64le"), "{reason}");
    }

    #[test]
    fn kernels_for_power_get_the_drivers_of_its_hypervisor() {
        let dir = tempfile::tempdir().unwrap();
        let of_tree = || default_drivers(&ModuleTree::open(dir.path()).unwrap());
        assert_eq!(of_tree(), ["virtio_pci", "virtio_blk"]);
        fs::write(dir.path().join("modules.builtin"), "kernel/drivers/scsi/ibmvscsi.ko\n").unwrap();
        assert_eq!(of_tree(), ["virtio_pci", "virtio_blk", "ibmvscsi", "sd_mod"]);
    }

    #[test]
    fn init_must_be_a_static_program() {
        let dir = tempfile::tempdir().unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        let build = |init: &[u8]| capture_image(init, None, Config::default(), &tree, &[]);
        // The test itself is a dynamic program.
        let dynamic = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(build(&dynamic), Err(Error::Dynamic)));
        assert!(matches!(build(b"#!/bin/sh\n-----------------"), Err(Error::Init(_))));
        assert!(matches!(build(b""), Err(Error::Init(_))));
    }

    #[test]
    fn an_image_that_starts_a_shell_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        let program = elf(2, 1, 62);
        let config = || Config { action: Action::Shell, ..Config::default() };
        let without = capture_image(&program, None, config(), &tree, &[]);
        assert!(matches!(without, Err(Error::NoShell)));
        assert!(capture_image(&program, Some(&program), config(), &tree, &[]).is_ok());
    }
}
