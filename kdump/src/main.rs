//! `kdump`: the operator's tool.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use capture::block::Devices;
use capture::config::{self, Action, Config, Filesystem, Target};
use clap::{Args, Parser, Subcommand};
use kdump::initramfs::{self, Initramfs};
use kdump::modules::{self, ModuleTree};
use kdump::{drivers, mkinitrd};

/// Where a machine has its modules.
const MODULES_DIR: &str = "/lib/modules";

/// Prepares a machine for saving the memory of a kernel that dies.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Mkinitrd(Mkinitrd),
}

/// Builds the initramfs of the capture kernel
#[derive(Debug, Args)]
struct Mkinitrd {
    /// Where the dump goes: /dev/NAME, UUID=, LABEL= or PARTUUID=
    #[arg(short = 'c', value_name = "DUMP_DEV", value_parser = target)]
    target: Target,
    /// The file system on it: ext2, ext3 or ext4
    #[arg(short = 'f', value_name = "FS", value_parser = str::parse::<Filesystem>)]
    filesystem: Filesystem,
    /// The image to write
    #[arg(short = 'o', value_name = "OUT")]
    output: PathBuf,
    /// The capture kernel's release [default: the running kernel's]
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
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {what} {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot build the image")]
    Image(#[from] mkinitrd::Error),
    #[error("cannot write the image {}", path.display())]
    Write { path: PathBuf, source: initramfs::Error },
    #[error(transparent)]
    Modules(#[from] modules::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Drivers(#[from] drivers::Error),
    #[error(
        "{target} is not on this machine, whose kernel this image is for: \
         correct it, or give the drivers it needs with --add-drivers"
    )]
    NoTarget { target: Target },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Mkinitrd(arguments) => make_image(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kdump: {}", capture::console::chain(&failure));
            ExitCode::FAILURE
        }
    }
}

fn make_image(arguments: &Mkinitrd) -> Result<(), Failure> {
    let release = arguments.release.clone().unwrap_or_else(running_release);
    let init = arguments.init.clone().unwrap_or_else(init_beside_this_program);
    let init = fs::read(&init).map_err(|source| Failure::File {
        what: "read the init program",
        path: init,
        source,
    })?;
    let tree = ModuleTree::open(&arguments.modules_dir.join(&release))?;
    let drivers = drivers_of(arguments, &release, &tree)?;
    let drivers: Vec<&str> = drivers.iter().map(String::as_str).collect();
    let image = mkinitrd::capture_image(&init, config_of(arguments)?, &tree, &drivers)?;
    write(&image, &arguments.output)
}

fn config_of(arguments: &Mkinitrd) -> Result<Config, Failure> {
    let mut config = Config {
        target: Some(arguments.target.clone()),
        filesystem: arguments.filesystem,
        action: arguments.action,
        ..Config::default()
    };
    config.set("path", &arguments.path)?;
    Ok(config)
}

/// The drivers of the target, and those asked for.
fn drivers_of(
    arguments: &Mkinitrd,
    release: &str,
    tree: &ModuleTree,
) -> Result<Vec<String>, Failure> {
    let mut drivers = if arguments.modules_dir != Path::new(MODULES_DIR) {
        mkinitrd::default_drivers(tree)
    } else if release == running_release() {
        match drivers_here(&arguments.target)? {
            Some(drivers) => drivers,
            None if !arguments.add_drivers.is_empty() => Vec::new(),
            None => return Err(Failure::NoTarget { target: arguments.target.clone() }),
        }
    } else {
        // A kernel that was just installed here, or one for another machine: for both.
        let here = drivers_here(&arguments.target).ok().flatten().unwrap_or_default();
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

fn init_beside_this_program() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("kdump-capture")
}

fn target(text: &str) -> Result<Target, String> {
    mkinitrd::target(text).map_err(|error| error.to_string())
}

/// Writes the image under a temporary name first: a boot must never find half an image.
/// Under another name until it is whole.
fn write(image: &Initramfs, path: &Path) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = write_and_rename(image, &temporary, path);
    if written.is_err() {
        // It may not even exist; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_and_rename(image: &Initramfs, temporary: &Path, path: &Path) -> Result<(), Failure> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| Failure::File { what, path, source }
    };
    let file = File::create(temporary).map_err(failed("create the image"))?;
    let mut out = BufWriter::new(file);
    image.write_to(&mut out).map_err(|source| Failure::Write { path: path.to_owned(), source })?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed("write the image"))?;
    fs::rename(temporary, path).map_err(failed("give its final name to the image"))
}
