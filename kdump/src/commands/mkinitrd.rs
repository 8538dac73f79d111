//! `kdump mkinitrd`: builds the initramfs of the capture kernel, or with `-i` the first kernel's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::block::Devices;
use capture::config::{self, Action, Config, Filesystem, Target};
use clap::Args;

use super::mkinitrd_early;
use crate::modules::{self, ModuleTree};
use crate::{drivers, initramfs, mkinitrd, new_file};

/// Where a machine has its modules.
const MODULES_DIR: &str = "/lib/modules";

/// Options of `kdump mkinitrd`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the dump goes: /dev/NAME, UUID=, LABEL= or PARTUUID=
    #[arg(
        short = 'c',
        value_name = "DUMP_DEV",
        value_parser = target,
        required_unless_present = "capture_initrd",
        conflicts_with = "capture_initrd"
    )]
    target: Option<Target>,
    /// The file system on it: ext2, ext3 or ext4
    #[arg(
        short = 'f',
        value_name = "FS",
        value_parser = str::parse::<Filesystem>,
        required_unless_present = "capture_initrd",
        conflicts_with = "capture_initrd"
    )]
    filesystem: Option<Filesystem>,
    /// The image to write
    #[arg(short = 'o', value_name = "OUT")]
    output: PathBuf,
    /// The kernel's release [default: the running kernel's]
    #[arg(value_name = "KVER")]
    release: Option<String>,
    /// The directory on the target's file system
    #[arg(long, value_name = "DIR", default_value = "/var/crash")]
    path: String,
    /// What to do when the dump is saved, or cannot be: reboot, poweroff or halt
    #[arg(long, default_value = "reboot", value_parser = str::parse::<Action>)]
    action: Action,
    /// Drivers to add, separated by commas
    #[arg(long, value_name = "MODULES", value_delimiter = ',')]
    add_drivers: Vec<String>,
    /// Where the modules of each kernel release are
    #[arg(long, value_name = "DIR", default_value = MODULES_DIR)]
    modules_dir: PathBuf,
    /// The static kdump-capture [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    #[command(flatten)]
    early: mkinitrd_early::Options,
}

/// Why no image was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The init program cannot be read.
    #[error("cannot read the init program {}", path.display())]
    Init {
        /// Its file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image has a part that it cannot have.
    #[error("cannot build the image")]
    Image(#[from] mkinitrd::Error),
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] new_file::Error<initramfs::Error>),
    /// The modules cannot be read.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The drivers of the target cannot be told.
    #[error(transparent)]
    Drivers(#[from] drivers::Error),
    /// The target is not here, so its drivers cannot be told.
    #[error(
        "{target} is not on this machine, whose kernel this image is for: \
         correct it, or give the drivers it needs with --add-drivers"
    )]
    NoTarget {
        /// The target as given.
        target: Target,
    },
    /// The first kernel's initrd cannot be made.
    #[error(transparent)]
    Early(#[from] mkinitrd_early::Failure),
}

/// Builds and writes the image.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let release = arguments.release.clone().unwrap_or_else(running_release);
    let init = arguments.init.clone().unwrap_or_else(|| super::beside_this("kdump-capture"));
    if let Some(images) = arguments.early.images() {
        return Ok(images.run(&release, &init, &arguments.output)?);
    }
    let init = fs::read(&init).map_err(|source| Failure::Init { path: init, source })?;
    let tree = ModuleTree::open(&arguments.modules_dir.join(&release))?;
    let drivers = drivers_of(arguments, &release, &tree)?;
    let drivers: Vec<&str> = drivers.iter().map(String::as_str).collect();
    let image = mkinitrd::capture_image(&init, config_of(arguments)?, &tree, &drivers)?;
    Ok(new_file::replace(&arguments.output, |out| image.write_to(out).map(drop))?)
}

fn config_of(arguments: &Arguments) -> Result<Config, Failure> {
    let mut config =
        Config { target: arguments.target.clone(), action: arguments.action, ..Config::default() };
    config.filesystem = arguments.filesystem.unwrap_or(config.filesystem);
    config.set("path", &arguments.path)?;
    Ok(config)
}

/// The drivers of the target, and those asked for.
fn drivers_of(
    arguments: &Arguments,
    release: &str,
    tree: &ModuleTree,
) -> Result<Vec<String>, Failure> {
    let Some(target) = &arguments.target else {
        return Ok(arguments.add_drivers.clone());
    };
    let mut drivers = if arguments.modules_dir != Path::new(MODULES_DIR) {
        mkinitrd::default_drivers(tree)
    } else if release == running_release() {
        match drivers_here(target)? {
            Some(drivers) => drivers,
            None if !arguments.add_drivers.is_empty() => Vec::new(),
            None => return Err(Failure::NoTarget { target: target.clone() }),
        }
    } else {
        // A kernel that was just installed here, or one for another machine: for both.
        let here = drivers_here(target).ok().flatten().unwrap_or_default();
        [here, mkinitrd::default_drivers(tree)].concat()
    };
    drivers.extend(arguments.add_drivers.iter().cloned());
    Ok(drivers)
}

/// As this machine has them; `None` if it does not have the target.
fn drivers_here(target: &Target) -> Result<Option<Vec<String>>, drivers::Error> {
    let node = Devices::default().find(target);
    let class = Path::new("/sys/class/block");
    node.map(|node| drivers::of_block_device(class, &device_name(&node))).transpose()
}

/// The name in sysfs of a device node.
fn device_name(node: &Path) -> String {
    let node = node.canonicalize().unwrap_or_else(|_| node.to_owned());
    node.strip_prefix("/dev").unwrap_or(&node).to_string_lossy().replace('/', "!")
}

fn running_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn target(text: &str) -> Result<Target, String> {
    mkinitrd::target(text).map_err(|error| error.to_string())
}
