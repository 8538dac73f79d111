//! What a capture image needs to reach its servers: addresses, the interface, its drivers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use capture::config::{Config, Target};
use capture::net;

use crate::modules::ModuleTree;
use crate::{drivers, routes};

/// What drives the network card of a virtual machine.
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_net"];

/// What drives the network card that a POWER hypervisor gives its guests, where the kernel has it.
const POWER_DRIVER: &str = "ibmveth";

/// Why a server's way is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name has no address.
    #[error(transparent)]
    Name(#[from] net::Error),
    /// What drives the interface is not known.
    #[error(transparent)]
    Drivers(#[from] drivers::Error),
    /// No route.
    #[error(
        "no network interface of this machine, whose kernel this image is for, leads to {server}: \
         name one with --network, or give the drivers it needs with --add-drivers"
    )]
    NoRoute {
        /// The server's address.
        server: IpAddr,
    },
    /// The interface cannot be read.
    #[error("cannot read the MAC address of network interface {interface}")]
    Mac {
        /// Its name.
        interface: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The servers of a configuration, with their addresses of today: a dump must not wait for a name
/// server.
#[derive(Debug)]
pub(super) struct Servers(BTreeMap<String, IpAddr>);

impl Servers {
    /// Looks up all of them.
    pub(super) fn of(config: &Config) -> Result<Self, Error> {
        let names = config.targets.iter().filter_map(server);
        let addresses = names.map(|name| Ok((name.to_owned(), net::resolve(name, 0)?.ip())));
        Ok(Self(addresses.collect::<Result<_, Error>>()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `/etc/hosts`, if a server has a name.
    pub(super) fn hosts_file(&self) -> Option<String> {
        let is_name = |name: &str| name.parse::<IpAddr>().is_err() && !name.starts_with('[');
        let names = self.0.iter().filter(|(name, _)| is_name(name));
        let lines: String = names.map(|(name, address)| format!("{address} {name}\n")).collect();
        (!lines.is_empty()).then_some(lines)
    }
}

fn server(target: &Target) -> Option<&str> {
    match target {
        Target::Nfs { server, .. } => Some(server),
        Target::Ssh { host, .. } => Some(host),
        Target::Filesystem { .. } | Target::Raw { .. } => None,
    }
}

/// Name and port of every SSH server of a configuration.
pub(super) fn ssh_hosts(config: &Config) -> Vec<(String, u16)> {
    let hosts = config.targets.iter().filter_map(|target| match target {
        Target::Ssh { host, port, .. } => Some((host.clone(), *port)),
        Target::Filesystem { .. } | Target::Raw { .. } | Target::Nfs { .. } => None,
    });
    hosts.collect()
}

/// What drives the network card of a virtual machine with the kernel of `tree`.
pub(super) fn default_drivers(tree: &ModuleTree) -> Vec<String> {
    let power = tree.has(POWER_DRIVER).then_some(POWER_DRIVER);
    DRIVERS.into_iter().chain(power).map(str::to_owned).collect()
}

/// A network card of this machine.
#[derive(Debug)]
pub(super) struct Card {
    /// Its MAC address.
    pub mac: String,
    /// The modules that drive it.
    pub drivers: Vec<String>,
}

/// The card that leads to the servers, or the one below the interface `wanted` (name or MAC
/// address).
pub(super) fn interface_here(servers: &Servers, wanted: Option<&str>) -> Result<Card, Error> {
    let class = Path::new("/sys/class/net");
    let name = match wanted {
        Some(wanted) => {
            let all = net::interface::Interfaces::default().all();
            let named = all.iter().find(|interface| interface.is(wanted));
            named.map_or(wanted.to_owned(), |interface| interface.name.clone())
        }
        None => towards(servers)?,
    };
    let interface = drivers::physical_interface(class, &name)?;
    let mac = fs::read_to_string(class.join(&interface).join("address"))
        .map_err(|source| Error::Mac { interface: interface.clone(), source })?;
    let drivers = drivers::of_network_interface(class, &interface)?;
    Ok(Card { mac: mac.trim().to_owned(), drivers })
}

/// The interface of the first server: all of them are reached by one.
fn towards(servers: &Servers) -> Result<String, Error> {
    let Some(&server) = servers.0.values().next() else { return Ok(String::new()) };
    routes::interface_towards(server, Path::new("/proc/net")).ok_or(Error::NoRoute { server })
}
