//! `kdump mkinitrd`: its options, and what they stand for. With `-i` it makes the first kernel's
//! initrd instead ([`crate::early`]).

use std::path::PathBuf;

use capture::config::{self, Config, Target};
use clap::Args;

use super::compression::Compression;
use super::sources::{self, MODULES_DIR, Sources};
use super::target;
use crate::early::command as early;
use crate::ssh_client;

/// Builds the initramfs of the capture kernel
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the dump goes: /dev/NAME, UUID=, LABEL= or PARTUUID=; with -f nfs SERVER:/DIRECTORY,
    /// with -f ssh USER@HOST or USER@HOST:/DIRECTORY. Repeated with its -f, targets are tried in
    /// their order
    #[arg(
        short = 'c',
        value_name = "DUMP_DEV",
        required_unless_present = "capture_initrd",
        conflicts_with = "capture_initrd"
    )]
    device: Vec<String>,
    /// The file system on it: ext2, ext3, ext4, xfs, btrfs or vfat; or raw, nfs, ssh
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
    /// The directory on the target's file system [default: /var/crash]
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    /// The network of nfs and ssh targets: dhcp[,DEV] or ADDRESS/PREFIX[,GATEWAY[,DEV]]. DEV is the
    /// name or MAC address of an interface [default: dhcp on the one that leads to the server]
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Mount options of nfs targets, as in nfs(5)
    #[arg(long, value_name = "OPTIONS")]
    nfs_options: Option<String>,
    /// TCP port of ssh targets [default: 22]
    #[arg(long, value_name = "PORT")]
    ssh_port: Option<String>,
    /// The private key for ssh targets, without a passphrase [default: one of root's]
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// A file with the public key of the ssh target's host [default: what this machine knows of it]
    #[arg(long, value_name = "FILE")]
    ssh_host_key: Option<PathBuf>,
    /// The root that has the ssh client and its libraries
    #[arg(long, value_name = "DIR", default_value = "/")]
    ssh_root: PathBuf,
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
    let config = arguments.config()?;
    if config.targets.is_empty() {
        warn(
            "the image has no target: without kdump.target= on the capture kernel's command line nothing is saved",
        );
    }
    for device in sources.absent(&config) {
        warn(&format!("{device} is not on this machine: the image may lack its drivers"));
    }
    let image = sources.build(config)?;
    Ok(sources::write(&image, sources.compression, &arguments.output)?)
}

fn warn(what: &str) {
    eprintln!("kdump: warning: {what}");
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
            ssh: ssh_client::Sources {
                root: self.ssh_root.clone(),
                key: self.ssh_key.clone(),
                host_key: self.ssh_host_key.clone(),
            },
        }
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::default();
        if self.device.len() != self.filesystem.len() {
            let (devices, filesystems) = (self.device.len(), self.filesystem.len());
            return Err(Error::Unpaired { devices, filesystems });
        }
        for (device, filesystem) in self.device.iter().zip(&self.filesystem) {
            let target = target(filesystem, device)?;
            let keys = match target {
                Target::Filesystem { .. } => vec![("path", &self.path)],
                Target::Raw { .. } => Vec::new(),
                Target::Nfs { .. } => vec![("path", &self.path), ("options", &self.nfs_options)],
                Target::Ssh { .. } => vec![("path", &self.path), ("port", &self.ssh_port)],
            };
            config.targets.push(target);
            for (key, value) in keys {
                value.iter().try_for_each(|value| config.set(key, value))?;
            }
            if let Some(Target::Raw { overwrite, .. }) = config.targets.last_mut() {
                *overwrite = self.overwrite;
            }
        }
        for (key, value) in self.network.iter().flat_map(|network| network_settings(network)) {
            config.set(key, value)?;
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

/// `dhcp[,DEV]` or `ADDRESS/PREFIX[,GATEWAY[,DEV]]` as settings.
fn network_settings(network: &str) -> Vec<(&'static str, &str)> {
    let (address, rest) = network.split_once(',').unwrap_or((network, ""));
    let (gateway, interface) = match address {
        "dhcp" => ("", rest),
        _static => rest.split_once(',').unwrap_or((rest, "")),
    };
    let settings = [("address", address), ("gateway", gateway), ("interface", interface)];
    settings.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_what_goes_with_it() {
        assert_eq!(network_settings("dhcp"), [("address", "dhcp")]);
        assert_eq!(network_settings("dhcp,eth0"), [("address", "dhcp"), ("interface", "eth0")]);
        let address = ("address", "10.0.2.15/24");
        let (gateway, interface) = (("gateway", "10.0.2.2"), ("interface", "eth0"));
        assert_eq!(network_settings("10.0.2.15/24"), [address]);
        assert_eq!(network_settings("10.0.2.15/24,10.0.2.2"), [address, gateway]);
        assert_eq!(network_settings("10.0.2.15/24,,eth0"), [address, interface]);
        assert_eq!(network_settings("10.0.2.15/24,10.0.2.2,eth0"), [address, gateway, interface]);
    }
}
