//! What should be loaded on a machine with its settings: the plan of `kdump load`, and what
//! `kdump status` compares with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::block::Devices;
use capture::block::superblock::Superblock;
use capture::capture_command_line::{CommandLine, Decision};
use capture::config::{Config, Device, Filesystem, Target};
use purgatorio::facts::Arch;
use sha2::{Digest, Sha256};

use crate::capture_kernel;
use crate::initramfs::{self, Initramfs};
use crate::loaded::{Hardware, ImageFile, KernelFile, Loaded, TargetSeen, is_config, is_module};
use crate::machine::{Machine, ReadError};
use crate::mkinitrd::sources::{self, Sources};
use crate::mounts;
use crate::settings::{self, Settings};

/// Where capture images are kept; below it one for each kernel.
const IMAGES: &str = "/var/lib/kdump";

/// Where dumps go when the settings do not say.
const DEFAULT_DIRECTORY: &str = capture::config::DEFAULT_PATH;

/// Why nothing can be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no capture kernel.
    #[error(transparent)]
    Kernel(#[from] capture_kernel::Error),
    /// A file of the machine cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel's file cannot be read.
    #[error("cannot read {}", path.display())]
    KernelFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The capture image cannot be made.
    #[error(transparent)]
    Image(#[from] sources::Error),
    /// The capture image has a fault.
    #[error("cannot make the capture image")]
    Archive(#[from] initramfs::Error),
    /// There is no target, and none can be told.
    #[error(
        "{DEFAULT_DIRECTORY} is on {source_of} ({filesystem}), where no file system that the capture \
         kernel could use is found: name a target in /etc/kdump.toml"
    )]
    NoTarget {
        /// Where the file system comes from.
        source_of: PathBuf,
        /// Its type.
        filesystem: String,
    },
}

/// The programs that go into the image, where they are not beside this one.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The static `kdump-capture`.
    pub init: Option<PathBuf>,
}

/// A capture kernel that is ready to be loaded.
#[derive(Debug)]
pub struct Prepared {
    /// What will be recorded.
    pub wanted: Loaded,
    /// Content of the image.
    pub image: Vec<u8>,
    /// The command line with its reasons.
    pub command_line: CommandLine,
    /// The configuration in the image.
    pub config: Config,
    /// Bytes of each module in the image.
    pub module_sizes: Vec<u64>,
}

/// Chooses kernel and command line, and builds the image.
pub fn prepare(
    machine: &Machine,
    settings: &Settings,
    programs: &Programs,
) -> Result<Prepared, Error> {
    let kernel = capture_kernel::choose(machine, &settings.kernel)?;
    let running = machine.required_text("proc/cmdline")?;
    let command_line = command_line(Arch::of_program(), &running, &settings.kernel);
    let config = config(machine, settings)?;
    let archive = sources(machine, settings, programs, &kernel.release).build(config.clone())?;
    let mut image = Vec::new();
    archive.write_to(&mut image)?;
    let wanted = Loaded {
        kernel: KernelFile {
            sha256: file_sha256(&machine.of_absolute(&kernel.image))?,
            path: kernel.image,
            release: kernel.release.clone(),
        },
        command_line: command_line.to_string(),
        kexec_options: settings.kernel.kexec_options.clone(),
        image: image_file(&image, &archive, &kernel.release),
        targets: config.targets.iter().map(|target| seen(machine, target)).collect(),
        hardware: Hardware::of(machine)?,
    };
    let module_sizes = module_sizes(&archive);
    Ok(Prepared { wanted, image, command_line, config, module_sizes })
}

/// The configuration of the image; it has a target.
pub fn config(machine: &Machine, settings: &Settings) -> Result<Config, Error> {
    let mut config = settings.capture.clone();
    if config.targets.is_empty() {
        config.targets.push(local_target(machine)?);
    }
    Ok(config)
}

/// The capture kernel's command line on a machine of `arch` whose kernel runs with `running`, unless
/// the settings give all of it.
pub fn command_line(arch: Option<Arch>, running: &str, settings: &settings::Kernel) -> CommandLine {
    if let Some(line) = &settings.command_line {
        let given = Decision::Added("kernel.command_line is all of it");
        return CommandLine { words: vec![(line.clone(), given)] };
    }
    CommandLine::make(arch, running, &settings.remove, &settings.append)
}

/// The node of a target's device, if it has one and the machine has it now.
pub fn node_of(machine: &Machine, target: &Target) -> Option<PathBuf> {
    target.device().and_then(|device| devices(machine).find(device))
}

/// Whether the machine has the target's device now. A server is not asked.
pub fn is_present(machine: &Machine, target: &Target) -> bool {
    target.device().is_none() || node_of(machine, target).is_some()
}

/// The file system on a device node.
pub fn superblock(node: &Path) -> Option<Superblock> {
    Superblock::read(&fs::File::open(node).ok()?).ok()?
}

fn devices(machine: &Machine) -> Devices {
    Devices::at(&machine.path("sys/class/block"), &machine.path("dev"))
}

fn sources(machine: &Machine, settings: &Settings, programs: &Programs, release: &str) -> Sources {
    let here = Sources::default();
    Sources {
        release: release.to_owned(),
        modules_dir: machine.of_absolute(&here.modules_dir),
        init: programs.init.clone().unwrap_or(here.init),
        shell: settings.shell.clone(),
        compression: here.compression,
        add_drivers: settings.add_drivers.clone(),
        ssh: settings.ssh.clone(),
    }
}

/// The file system that holds `/var/crash` on this machine.
fn local_target(machine: &Machine) -> Result<Target, Error> {
    let mounts = mounts::read(machine)?;
    let directory = machine.resolved(Path::new(DEFAULT_DIRECTORY));
    let unusable = |source_of: &Path, filesystem: &str| Error::NoTarget {
        source_of: source_of.to_owned(),
        filesystem: filesystem.to_owned(),
    };
    let mount = mounts::holding(&mounts, &directory)
        .ok_or_else(|| unusable(Path::new("nothing"), "not mounted"))?;
    let failed = || unusable(&mount.source, &mount.filesystem);
    let filesystem: Filesystem = mount.filesystem.parse().map_err(|_| failed())?;
    let found = superblock(&machine.of_absolute(&mount.source)).ok_or_else(failed)?;
    let below = directory.strip_prefix(&mount.point).unwrap_or(&directory);
    let path = mount.root.join(below);
    Ok(Target::Filesystem { device: Device::Uuid(found.uuid), filesystem, path })
}

fn seen(machine: &Machine, target: &Target) -> TargetSeen {
    let found = node_of(machine, target).and_then(|node| superblock(&node));
    TargetSeen {
        target: target.to_string(),
        present: is_present(machine, target),
        uuid: found.map(|found| found.uuid),
    }
}

fn image_file(image: &[u8], archive: &Initramfs, release: &str) -> ImageFile {
    ImageFile {
        path: Path::new(IMAGES).join(format!("initramfs-{release}.img")),
        bytes: image.len() as u64,
        sha256: sha256(image),
        settings: settings_sha256(archive),
        files: archive.files().map(|(path, data)| (path.to_owned(), sha256(data))).collect(),
    }
}

fn settings_sha256(archive: &Initramfs) -> String {
    let text = archive.files().find(|(path, _)| is_config(path)).map(|(_, data)| data);
    let text = String::from_utf8_lossy(text.unwrap_or_default());
    let (settings, _errors) = Config::read(&text);
    sha256(Config { modules: Vec::new(), ..settings }.to_string().as_bytes())
}

fn module_sizes(archive: &Initramfs) -> Vec<u64> {
    let modules = archive.files().filter(|(path, _)| is_module(path));
    modules.map(|(_, data)| data.len() as u64).collect()
}

fn file_sha256(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::KernelFile { path: path.to_owned(), source };
    Ok(sha256(&fs::read(path).map_err(failed)?))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
