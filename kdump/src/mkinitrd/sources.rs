//! Builds a capture image from what this machine has: modules, drivers of the targets, programs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use capture::block::Devices;
use capture::block::occupant::occupant;
use capture::config::{Config, Device, Target};

use super::compression::{self, Compression};
use super::network::{self, Servers};
use super::{capture_image, default_drivers};
use crate::initramfs::{self, Initramfs};
use crate::modules::{self, ModuleTree};
use crate::{drivers, new_file, ssh_client};

/// Where a machine has its modules.
pub const MODULES_DIR: &str = "/lib/modules";

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be used.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The parts do not make an image.
    #[error("cannot build the image")]
    Image(#[from] super::Error),
    /// The image has a fault, or cannot be written.
    #[error(transparent)]
    Write(#[from] new_file::Error<initramfs::Error>),
    /// The kernel could not unpack it.
    #[error(transparent)]
    Compression(#[from] compression::Error),
    /// The kernel's modules cannot be used.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// What drives a target is not known.
    #[error(transparent)]
    Drivers(#[from] drivers::Error),
    /// A server's way is not known.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// An ssh target cannot be reached.
    #[error(transparent)]
    Ssh(#[from] ssh_client::Error),
    /// A raw target has something that a dump would destroy.
    #[error(
        "{device} has {found}, which a dump would destroy: name another device, or say --overwrite"
    )]
    Occupied {
        /// The target's device.
        device: Device,
        /// What it has.
        found: String,
    },
    /// No target is here.
    #[error(
        "{devices}: not on this machine, whose kernel this image is for: \
         attach or correct it, or give the drivers it needs with --add-drivers (add_drivers in \
         /etc/kdump.toml)"
    )]
    NoTarget {
        /// The targets' devices.
        devices: String,
    },
}

/// What an image is made from, besides its configuration.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The capture kernel's release.
    pub release: String,
    /// Where the modules of each release are: [`MODULES_DIR`], or another machine's.
    pub modules_dir: PathBuf,
    /// The static `kdump-capture`.
    pub init: PathBuf,
    /// A static shell.
    pub shell: Option<PathBuf>,
    /// How the image is to be compressed.
    pub compression: Compression,
    /// Drivers besides those that the targets are seen to need.
    pub add_drivers: Vec<String>,
    /// For ssh targets.
    pub ssh: ssh_client::Sources,
}

impl Default for Sources {
    /// This machine's, for the kernel that it runs.
    fn default() -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            release: running_release(),
            modules_dir: MODULES_DIR.into(),
            init: program.with_file_name("kdump-capture"),
            shell: None,
            compression: Compression::None,
            add_drivers: Vec::new(),
            ssh: ssh_client::Sources::default(),
        }
    }
}

impl Sources {
    /// Builds the image of `config`.
    pub fn build(&self, mut config: Config) -> Result<Initramfs, Error> {
        self.compression.check(&self.modules_dir, &self.release)?;
        let init = read("read the init program", &self.init)?;
        let shell = self.shell.as_ref().map(|shell| read("read the shell", shell)).transpose()?;
        let tree = ModuleTree::open(&self.modules_dir.join(&self.release))?;
        if self.modules_dir == Path::new(MODULES_DIR) {
            config.targets.iter().try_for_each(check_raw)?;
        }
        let mut drivers = self.drivers(&config, &tree)?;
        let servers = Servers::of(&config)?;
        if !servers.is_empty() {
            let of_network = self.network_drivers(&servers, &mut config, &tree)?;
            drivers.splice(0..0, of_network);
        }
        let drivers: Vec<&str> = drivers.iter().map(String::as_str).collect();
        let ssh_hosts = network::ssh_hosts(&config);
        let mut image = capture_image(&init, shell.as_deref(), config, &tree, &drivers)?;
        if let Some(hosts) = servers.hosts_file() {
            image.file("etc/hosts", 0o644, hosts);
        }
        if !ssh_hosts.is_empty() {
            ssh_client::pack(&mut image, &self.ssh, &ssh_hosts)?;
        }
        Ok(image)
    }

    /// The targets' devices that this machine does not have, if the image is for it.
    pub fn absent<'a>(&self, config: &'a Config) -> Vec<&'a Device> {
        if !self.is_for_this_machine() {
            return Vec::new();
        }
        let devices = config.targets.iter().filter_map(|target| target.device());
        devices.filter(|device| Devices::default().find(device).is_none()).collect()
    }

    /// Whether the image is for the kernel that this machine runs.
    fn is_for_this_machine(&self) -> bool {
        self.modules_dir == Path::new(MODULES_DIR) && self.release == running_release()
    }

    /// The drivers of the interface that leads to the servers. On the machine that the image is for
    /// it is pinned in `config` by its MAC address, for it has another name without udev.
    fn network_drivers(
        &self,
        servers: &Servers,
        config: &mut Config,
        tree: &ModuleTree,
    ) -> Result<Vec<String>, Error> {
        let defaults = network::default_drivers(tree);
        if self.modules_dir != Path::new(MODULES_DIR) {
            return Ok(defaults);
        }
        let here = network::interface_here(servers, config.network.interface.as_deref());
        match here {
            Ok(here) => {
                config.network.interface = Some(here.mac);
                let here = here.drivers;
                Ok(if self.release == running_release() { here } else { [here, defaults].concat() })
            }
            // For another machine, or one that will look different.
            Err(_) if self.release != running_release() => Ok(defaults),
            Err(_) if !self.add_drivers.is_empty() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The drivers of the targets, and those asked for. What drives a target that is not here cannot
    /// be told; one that is here is enough.
    fn drivers(&self, config: &Config, tree: &ModuleTree) -> Result<Vec<String>, Error> {
        let absent = self.absent(config);
        let none_here = !absent.is_empty() && absent.len() == config.targets.len();
        if none_here && self.add_drivers.is_empty() {
            let devices: Vec<String> = absent.into_iter().map(Device::to_string).collect();
            return Err(Error::NoTarget { devices: devices.join(", ") });
        }
        let mut drivers = Vec::new();
        for device in config.targets.iter().filter_map(|target| target.device()) {
            drivers.extend(self.drivers_of(device, tree)?);
        }
        if self.modules_dir == Path::new(MODULES_DIR) {
            let watchdogs = drivers::of_active_watchdogs(Path::new("/sys/class/watchdog"));
            drivers.extend(watchdogs.into_iter().filter(|name| tree.has(name)));
        }
        drivers.extend(self.add_drivers.iter().cloned());
        Ok(drivers)
    }

    /// None of a device that is not here.
    fn drivers_of(
        &self,
        device: &Device,
        tree: &ModuleTree,
    ) -> Result<Vec<String>, drivers::Error> {
        if self.is_for_this_machine() {
            return drivers_here(device);
        }
        if self.modules_dir != Path::new(MODULES_DIR) {
            return Ok(default_drivers(tree));
        }
        // A kernel that was just installed here, or one for another machine: for both.
        let here = drivers_here(device).unwrap_or_default();
        Ok([here, default_drivers(tree)].concat())
    }
}

/// A raw target that has something else than a dump would be refused after the crash.
fn check_raw(target: &Target) -> Result<(), Error> {
    let Target::Raw { device, overwrite: false } = target else { return Ok(()) };
    let file = Devices::default().find(device).and_then(|node| File::open(node).ok());
    // A device that is not here, or that cannot be read, is looked at by the capture.
    match file.and_then(|file| occupant(&file).ok().flatten()) {
        Some(found) => Err(Error::Occupied { device: device.clone(), found }),
        None => Ok(()),
    }
}

/// As this machine has them; none if it does not have the device.
fn drivers_here(device: &Device) -> Result<Vec<String>, drivers::Error> {
    match Devices::default().find(device) {
        Some(node) => drivers::of_block_device(Path::new("/sys/class/block"), &device_name(&node)),
        None => Ok(Vec::new()),
    }
}

/// The name in sysfs of a device node.
fn device_name(node: &Path) -> String {
    let node = node.canonicalize().unwrap_or_else(|_| node.to_owned());
    node.strip_prefix("/dev").unwrap_or(&node).to_string_lossy().replace('/', "!")
}

fn running_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { what, path: path.to_owned(), source })
}

/// Writes the image to `path`: whole, or not at all.
pub fn write(image: &Initramfs, compression: Compression, path: &Path) -> Result<(), Error> {
    Ok(new_file::replace_private(path, |out| compression.write(image, out))?)
}
