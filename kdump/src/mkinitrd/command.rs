//! `kdump mkinitrd`: its options, and what they stand for. With `-i` it makes the first kernel's
//! initrd instead ([`crate::early`]).

use std::path::PathBuf;

use capture::config::{self, Config, Target};
use clap::Args;

use super::compression::Compression;
use super::sources::{self, MODULES_DIR, Sources};
use super::target;
use crate::early::command as early;

/// Builds the initramfs of the capture kernel
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the dump goes: /dev/NAME, UUID=, LABEL= or PARTUUID=. Repeated with its -f, targets are
    /// tried in their order
    #[arg(
        short = 'c',
        value_name = "DUMP_DEV",
        required_unless_present = "capture_initrd",
        conflicts_with = "capture_initrd"
    )]
    device: Vec<String>,
    /// The file system on it: ext2, ext3, ext4, xfs, btrfs or vfat
    #[arg(
        short = 'f',
        value_name = "FS",
        required_unless_present = "capture_initrd",
        conflicts_with = "capture_initrd"
    )]
    filesystem: Vec<String>,
    /// The image to write
    #[arg(short = 'o', value_name = "OUT")]
    output: PathBuf,
    /// The kernel's release [default: the running kernel's]
    #[arg(value_name = "KVER")]
    release: Option<String>,
    /// The directory on the target's file system
    #[arg(long, value_name = "DIR", default_value = config::DEFAULT_PATH)]
    path: String,
    /// What to do when the dump is saved: reboot, poweroff, halt or shell
    #[arg(long, value_name = "ACTION", default_value = "reboot")]
    action: String,
    /// What to do when it cannot be: next-target, ACTION, or next-target,ACTION; after the last
    /// target, next-target alone does what is done when the dump is saved
    #[arg(long, value_name = "WHAT", default_value = "next-target")]
    on_failure: String,
    /// How many dumps to keep on a target, the new one included [default: all]
    #[arg(long, value_name = "N")]
    keep: Option<String>,
    /// A static shell for the action `shell`
    #[arg(long, value_name = "FILE")]
    shell: Option<PathBuf>,
    /// Compress the image: none, gzip or zstd, if the capture kernel can unpack it
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = str::parse::<Compression>)]
    compress: Compression,
    /// Destroy a file system that is found on a raw target
    #[arg(long)]
    overwrite: bool,
    /// Another setting of the image: any key of /etc/kdump-capture.conf; repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
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
    early: early::Options,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image was not made.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// A target is none.
    #[error(transparent)]
    Target(#[from] super::Error),
    /// A setting has no such value.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Devices and file systems do not go together.
    #[error("{devices} targets and {filesystems} file systems: give every -c its -f")]
    Unpaired {
        /// How many `-c`.
        devices: usize,
        /// How many `-f`.
        filesystems: usize,
    },
    /// The first kernel's initrd was not made.
    #[error(transparent)]
    Early(#[from] early::Error),
}

/// Makes the image.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let sources = arguments.sources();
    if let Some(images) = arguments.early.images() {
        return Ok(images.write(&sources.release, &sources.init, &arguments.output)?);
    }
    let image = sources.build(arguments.config()?)?;
    Ok(sources::write(&image, sources.compression, &arguments.output)?)
}

impl Arguments {
    fn sources(&self) -> Sources {
        let here = Sources::default();
        Sources {
            release: self.release.clone().unwrap_or(here.release),
            modules_dir: self.modules_dir.clone(),
            init: self.init.clone().unwrap_or(here.init),
            shell: self.shell.clone(),
            compression: self.compress,
            add_drivers: self.add_drivers.clone(),
        }
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::default();
        if self.device.len() != self.filesystem.len() {
            let (devices, filesystems) = (self.device.len(), self.filesystem.len());
            return Err(Error::Unpaired { devices, filesystems });
        }
        for (device, filesystem) in self.device.iter().zip(&self.filesystem) {
            config.targets.push(target(filesystem, device)?);
            if config.targets.last().is_some_and(|target| target.path().is_some()) {
                config.set("path", &self.path)?;
            }
            if let Some(Target::Raw { overwrite, .. }) = config.targets.last_mut() {
                *overwrite = self.overwrite;
            }
        }
        config.set("action", &self.action)?;
        config.set("on_failure", &self.on_failure)?;
        if let Some(keep) = &self.keep {
            config.set("keep", keep)?;
        }
        for (key, value) in &self.set {
            config.set(key, value)?;
        }
        Ok(config)
    }
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
