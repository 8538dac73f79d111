//! What all boots of a rehearsal have in common: the first kernel's initramfs, and what the scratch
//! disk looks like.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use capture::config::{Config, Filesystem, Target};
use capture::rehearsal;
use purgatorio::facts::Arch;

use super::Request;
use super::controller::{self, Controller};
use super::machine::{Accelerator, Machine, Model, quoted};
use super::scratch;
use super::shape::{self, Shape};
use crate::initramfs::{self, Device, Initramfs};
use crate::kexec::Kexec;
use crate::mkinitrd::{self, MachineName};
use crate::modules::{self, Module, ModuleTree};
use crate::new_file;
use crate::packed::{self, CaptureImage};

/// Where the first kernel has the kernel that it loads.
const KERNEL: &str = "/rehearsal/kernel";
/// Where it has the image.
const IMAGE: &str = "/rehearsal/image";
/// Where it has the loader.
const KEXEC: &str = "/sbin/kexec";

/// What the first kernel and its initramfs need beside what is reserved, in MiB.
const FIRST_KERNEL: u64 = 512;

/// What stands for a target that is on another machine.
const REPLACEMENT: &str = "ext4:LABEL=rehearsal";

/// A rehearsal that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first kernel's initrd cannot be written.
    #[error(transparent)]
    Write(#[from] new_file::Error<initramfs::Error>),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] packed::Error),
    /// A program of the rehearsal cannot run in it.
    #[error("{} cannot run in the virtual machine", path.display())]
    Program {
        /// The program, or the image with it.
        path: PathBuf,
        /// Why.
        source: mkinitrd::Error,
    },
    /// The loader is another machine's.
    #[error(
        "{} is for {found} and the image for {wanted}: give the kexec of that machine with --kexec",
        path.display()
    )]
    OtherMachine {
        /// The loader.
        path: PathBuf,
        /// What it is for.
        found: MachineName,
        /// What is needed.
        wanted: Arch,
    },
    /// QEMU is missing.
    #[error(
        "{program} is not installed: as root, run\n    apt-get install {package}\n\
         (where QEMU comes in another package, install that)"
    )]
    NoQemu {
        /// The program.
        program: &'static str,
        /// Debian's package with it.
        package: &'static str,
    },
    /// The image has no target.
    #[error("the image has no target: make it again with `kdump mkinitrd -c`")]
    NoTarget,
    /// The scratch disk cannot stand for the target.
    #[error(transparent)]
    Shape(#[from] shape::Error),
    /// Nothing that the image drives is in QEMU.
    #[error(
        "QEMU has no disk that the image's drivers ({drivers}) drive: give the kernel's modules \
         with --modules-dir, so that virtio_blk can be added for the rehearsal"
    )]
    NoController {
        /// What the image has.
        drivers: String,
    },
    /// The modules cannot be used.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// The scratch disk cannot be made.
    #[error(transparent)]
    Scratch(#[from] scratch::Error),
    /// The initramfs cannot be made.
    #[error("cannot make the first kernel's initramfs")]
    Initramfs(#[from] initramfs::Error),
    /// A file cannot be used.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Everything that stays the same from boot to boot.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
    smp: usize,
    /// The machine's architecture: that of the image's `/init`.
    pub arch: Arch,
    /// What runs it.
    pub accelerator: Accelerator,
    /// QEMU's version.
    pub qemu: String,
    /// The target that is rehearsed, as configured.
    pub target: Target,
    /// What the scratch disk hangs on.
    pub controller: &'static Controller,
    /// Size of the image in bytes.
    pub image_size: u64,
    /// What is not as on the real machine.
    pub differences: Vec<String>,
    shape: Shape,
    filesystem: Option<Filesystem>,
}

impl Stage {
    /// Reads what `request` names, and makes the first kernel's initramfs in `folder`.
    pub fn set(request: &Request, folder: &Path) -> Result<Self, Error> {
        let image = CaptureImage::parse(&request.image, &request.image_bytes)?;
        let arch = image.arch(&request.image)?;
        let kexec = read(&request.kexec)?;
        check_kexec(&kexec, &request.kexec, arch)?;
        let model = Model::of(arch);
        let missing = Error::NoQemu { program: model.program, package: model.package };
        let qemu = qemu_version(model.program).ok_or(missing)?;

        let mut differences = image.problems.clone();
        let disk = Disk::of(&image.config, request, &mut differences)?;
        let append = format!("{} {} {}", request.append, console(model, arch), disk.words);
        let append = append.trim().to_owned();
        let initrd = folder.join("first-initrd");
        let bytes = [&request.image_bytes[..], &disk.supplement].concat();
        let image_size = bytes.len() as u64;
        let files = Files { kexec, init: image.init, kernel: read(&request.kernel)?, image: bytes };
        write_initrd(&initrd, files, &append, &request.kexec_options)?;
        Ok(Self {
            folder: folder.to_owned(),
            kernel: request.kernel.clone(),
            initrd,
            smp: request.smp,
            arch,
            accelerator: request.accelerator.unwrap_or_else(|| Accelerator::best(arch)),
            qemu,
            target: disk.target,
            controller: disk.controller,
            image_size,
            differences,
            shape: disk.shape,
            filesystem: disk.filesystem,
        })
    }

    /// One line about the machine.
    pub fn summary(&self) -> String {
        format!(
            "{} with {}: {}, {} CPU(s); scratch disk for {} on {}",
            self.qemu,
            self.accelerator.name(),
            self.arch,
            self.smp,
            self.target,
            self.controller.driver
        )
    }

    /// A machine that reserves `crashkernel` MiB, with a new scratch disk.
    pub fn machine(&self, crashkernel: u64, memory: Option<u64>) -> Result<Ready, Error> {
        let memory = memory.unwrap_or(2 * crashkernel + FIRST_KERNEL);
        let folder = self.folder.join(format!("crashkernel-{crashkernel}M"));
        let failed = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what, path, source }
        };
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let (_, before) = self.shape.node.unwrap_or((self.controller.node, 0));
        let mut drives = Vec::new();
        for number in 0..before {
            let path = folder.join(format!("disk{number}"));
            scratch::sparse(&path, 1 << 20).map_err(failed("create", &path))?;
            drives.push(path);
        }
        let target = folder.join(format!("disk{before}"));
        // Room for all memory uncompressed, and for the file system itself.
        let room = (memory + 512) << 20;
        scratch::create(&target, &self.shape, self.filesystem, room)?;
        drives.push(target);
        let machine = Machine {
            arch: self.arch,
            accelerator: self.accelerator,
            memory,
            smp: self.smp,
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            // panic=-1: a panic that no capture kernel catches ends the machine at once.
            append: format!(
                "console={} panic=-1 crashkernel={crashkernel}M rdinit=/init -- {}",
                Model::of(self.arch).console,
                rehearsal::CRASH
            ),
            disks: disks(self.controller, &drives),
        };
        Ok(Ready { machine, folder, drives })
    }
}

/// A machine that can be started.
#[derive(Debug)]
pub struct Ready {
    /// The machine.
    pub machine: Machine,
    /// Where its logs go.
    pub folder: PathBuf,
    drives: Vec<PathBuf>,
}

impl Ready {
    /// Removes its disks; the logs stay.
    pub fn strike(&self) -> Result<(), Error> {
        for path in &self.drives {
            fs::remove_file(path).map_err(|source| Error::File {
                what: "remove",
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// The largest `crashkernel=` that the machine of `request` can be asked for, in MiB.
pub fn most_crashkernel(request: &Request) -> u64 {
    match request.memory {
        Some(memory) => memory.saturating_sub(FIRST_KERNEL) / 2,
        None => (4 * request.crashkernel).max(1024),
    }
}

/// What the scratch disk is, and what makes the image take it.
struct Disk {
    target: Target,
    shape: Shape,
    filesystem: Option<Filesystem>,
    controller: &'static Controller,
    /// An archive that is put behind the image.
    supplement: Vec<u8>,
    /// Words for the capture kernel's command line.
    words: String,
}

impl Disk {
    /// For the first target of `config`.
    fn of(
        config: &Config,
        request: &Request,
        differences: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let target = config.targets.first().ok_or(Error::NoTarget)?.clone();
        if config.targets.len() > 1 {
            differences.push(format!(
                "of the image's {} targets only the first one: {target}",
                config.targets.len()
            ));
        }
        let (device, filesystem) = match &target {
            Target::Filesystem { device, filesystem, .. } => (device.clone(), Some(*filesystem)),
            Target::Raw { device, .. } => (device.clone(), None),
            Target::Nfs { .. } | Target::Ssh { .. } => {
                return Self::replaced(target, request, differences);
            }
        };
        let shape = Shape::of(&device)?;
        let tree = request.modules.as_deref().map(ModuleTree::open).transpose()?;
        let node = shape.node.map(|(node, _)| node);
        if let Some(controller) = controller::driven(config, tree.as_ref(), node) {
            differences.push(format!(
                "the real disk and its controller: the scratch disk hangs on {}",
                controller.driver
            ));
            let (supplement, words) = (Vec::new(), String::new());
            return Ok(Self { target, shape, filesystem, controller, supplement, words });
        }
        let drivers = config.modules.iter().filter_map(|path| path.file_stem());
        let drivers: Vec<_> = drivers.map(|name| name.to_string_lossy()).collect();
        let controller = controller::supplement();
        let tree = tree
            .filter(|_| node.is_none_or(|node| node == controller.node))
            .ok_or_else(|| Error::NoController { drivers: drivers.join(", ") })?;
        differences.push(format!(
            "the image's disk drivers ({}), which QEMU has nothing for: {} was added to the image",
            drivers.join(", "),
            controller.driver
        ));
        let (supplement, words) = supplement(&tree, &controller::SUPPLEMENT)?;
        Ok(Self { target, shape, filesystem, controller, supplement, words })
    }

    /// A disk for a target that is on another machine.
    fn replaced(
        target: Target,
        request: &Request,
        differences: &mut Vec<String>,
    ) -> Result<Self, Error> {
        differences.push(format!(
            "the target {target} and the network to it: the dump goes to a scratch disk instead"
        ));
        let controller = controller::supplement();
        let modules = request.modules.as_deref();
        let tree = modules.ok_or_else(|| Error::NoController { drivers: "none".into() })?;
        let tree = ModuleTree::open(tree)?;
        let wanted = [&controller::SUPPLEMENT[..], &["ext4"]].concat();
        let (supplement, words) = supplement(&tree, &wanted)?;
        let shape = Shape { label: Some("rehearsal".into()), ..Shape::default() };
        Ok(Self {
            target,
            shape,
            filesystem: Some(Filesystem::Ext4),
            controller,
            supplement,
            words: format!("{words} kdump.target={REPLACEMENT}"),
        })
    }
}

/// An archive with `wanted` and what they need, and the words that make the capture program load
/// them.
fn supplement(tree: &ModuleTree, wanted: &[&str]) -> Result<(Vec<u8>, String), Error> {
    let modules = modules::resolve(tree, wanted)?;
    let mut archive = Initramfs::new();
    let mut words = Vec::new();
    for Module { path, data, .. } in modules {
        let at = Path::new(capture::config::MODULES).join(&path);
        archive.file(&at.to_string_lossy(), 0o644, data);
        words.push(format!("kdump.module={}", path.display()));
    }
    // An archive begins at a multiple of 4 (init/initramfs.c); zeroes between archives are skipped.
    let mut bytes = vec![0; 4];
    archive.write_to(&mut bytes)?;
    Ok((bytes, words.join(" ")))
}

/// What makes the capture kernel talk to the machine's console.
fn console(model: Model, arch: Arch) -> String {
    match arch {
        // So that a kernel that dies early says why.
        Arch::X86_64 | Arch::I386 => {
            format!("earlyprintk={0} console={0}", model.console)
        }
        Arch::Ppc64le | Arch::Ppc64 => format!("console={}", model.console),
    }
}

struct Files {
    kexec: Vec<u8>,
    init: Vec<u8>,
    kernel: Vec<u8>,
    image: Vec<u8>,
}

fn write_initrd(path: &Path, files: Files, append: &str, options: &[String]) -> Result<(), Error> {
    // As `kdump load` runs it.
    let mut load = vec![KEXEC.to_owned()];
    load.extend(Kexec::arguments(Path::new(KERNEL), Path::new(IMAGE), append, options));
    let mut archive = Initramfs::new();
    archive
        .file("init", 0o755, files.init)
        .file(KEXEC, 0o755, files.kexec)
        .file(KERNEL, 0o644, files.kernel)
        .file(IMAGE, 0o644, files.image)
        .file(rehearsal::LOAD, 0o644, load.join("\n"))
        .node("dev/console", 0o600, Device::Character, 5, 1)
        .node("dev/null", 0o666, Device::Character, 1, 3)
        .dir("proc")
        .dir("sys");
    Ok(new_file::replace_private(path, |out| archive.write_to(out).map(drop))?)
}

/// A kexec that needs libraries, or is for another machine, would fail without a word.
fn check_kexec(kexec: &[u8], path: &Path, arch: Arch) -> Result<(), Error> {
    let failed = |source| Error::Program { path: path.to_owned(), source };
    mkinitrd::check_static(kexec).map_err(failed)?;
    let found = mkinitrd::machine_of(kexec).map_err(failed)?;
    if found.arch() == Some(arch) {
        return Ok(());
    }
    Err(Error::OtherMachine { path: path.to_owned(), found, wanted: arch })
}

fn qemu_version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next()?.replace("emulator version ", "");
    // The distribution's own version follows in brackets.
    Some(first.split(" (").next().unwrap_or_default().to_owned())
}

fn disks(controller: &Controller, paths: &[PathBuf]) -> Vec<String> {
    let names: Vec<String> = (0..paths.len()).map(|number| format!("drive{number}")).collect();
    let drive = |(name, path): (&String, &PathBuf)| {
        let file = quoted(path);
        ["-drive".to_owned(), format!("id={name},if=none,format=raw,cache=unsafe,file={file}")]
    };
    let drives = names.iter().zip(paths).flat_map(drive);
    drives.chain(controller.devices(names.iter().map(String::as_str))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { what: "read", path: path.to_owned(), source })
}
