//! Brings the network up for targets on other machines: link, address, routes, and the way to the
//! server. Every wait is bounded, and says what it waited for.

pub mod dhcp;
pub mod interface;
pub mod rtnetlink;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Address, Network};
use interface::{Interface, Interfaces};
use rtnetlink::RtNetlink;

/// How often the interfaces are looked at while there is none with a link.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long a server may take to answer one attempt to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Where resolvers look for name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why a server cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The wanted interface did not appear in time.
    #[error(
        "no network interface is {wanted} after {seconds} seconds; interfaces: {found}. \
         Is its driver in the image?"
    )]
    NoInterface {
        /// What was looked for.
        wanted: String,
        /// How long.
        seconds: u64,
        /// What there is instead.
        found: String,
    },
    /// No cable, or no switch at its other end.
    #[error("no link on {found} after {seconds} seconds")]
    NoLink {
        /// The interfaces that were tried.
        found: String,
        /// How long.
        seconds: u64,
    },
    /// The kernel refused a change.
    #[error("cannot {what} {interface}")]
    Setup {
        /// What was to be done.
        what: &'static str,
        /// To which interface.
        interface: String,
        /// The system's reason.
        source: io::Error,
    },
    /// No DHCP server gave an address.
    #[error("no DHCP server answers on {interface} within {seconds} seconds")]
    NoLease {
        /// The interface that asked.
        interface: String,
        /// How long there was for all of the network.
        seconds: u64,
    },
    /// The server's name is unknown.
    #[error(
        "{server} has no address: build the image where its name is known, or name it by address"
    )]
    Name {
        /// The name.
        server: String,
        /// The resolver's reason.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("{server} does not answer within {seconds} seconds")]
    Server {
        /// Address and TCP port.
        server: SocketAddr,
        /// How long it was tried.
        seconds: u64,
        /// How the last attempt ended.
        source: io::Error,
    },
}

/// An interface that is ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    interface: Interface,
    /// The address of this machine.
    pub address: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {}/{}", self.interface, self.address, self.prefix)?;
        self.gateway.iter().try_for_each(|gateway| write!(f, ", router {gateway}"))
    }
}

/// Brings up the interface of `network` with an address, within `wait`.
pub fn up(network: &Network, wait: Duration) -> Result<Attached, Error> {
    let deadline = Instant::now() + wait;
    let interface = link(network.interface.as_deref(), deadline, wait)?;
    let (attached, nameservers) = match network.address {
        Address::Static { address, prefix } => {
            let gateway = network.gateway;
            (Attached { interface, address, prefix, gateway }, network.nameservers.clone())
        }
        Address::Dhcp => lease(interface, deadline, wait)?,
    };
    configure(&attached)?;
    // Best effort: most images know the server's address.
    let lines = nameservers.iter().map(|server| format!("nameserver {server}\n"));
    let _ = fs::write(RESOLV_CONF, lines.collect::<String>());
    Ok(attached)
}

/// The address of `server`, a name or an address (of IPv6 in brackets or not), with TCP port
/// `port`.
pub fn resolve(server: &str, port: u16) -> Result<SocketAddr, Error> {
    let bare = server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(server);
    let unknown = |source| Error::Name { server: server.to_owned(), source };
    let mut found = (bare, port).to_socket_addrs().map_err(unknown)?;
    found.next().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))
}

/// Waits until `server` takes connections, at most for `wait`.
///
/// What uses the server next may have no bound of its own, or no reason for its failure.
pub fn wait_for_server(server: SocketAddr, wait: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).min(CONNECT);
        // The shortest that is taken.
        let left = left.max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&server, left) {
            Ok(_) => return Ok(()),
            Err(source) if Instant::now() + PAUSE >= deadline => {
                return Err(Error::Server { server, seconds: wait.as_secs(), source });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Switches on the wanted interface, or all, and waits for the first one with a link.
fn link(wanted: Option<&str>, deadline: Instant, wait: Duration) -> Result<Interface, Error> {
    let interfaces = Interfaces::default();
    let mut kernel = RtNetlink::open().map_err(|source| Error::Setup {
        what: "ask the kernel about",
        interface: "network interfaces".into(),
        source,
    })?;
    let mut switched_on = Vec::new();
    loop {
        let all = interfaces.all();
        let suitable = |interface: &&Interface| wanted.is_none_or(|wanted| interface.is(wanted));
        for interface in all.iter().filter(suitable) {
            if !switched_on.contains(interface) {
                kernel.set_up(interface.index).map_err(failed("switch on", interface))?;
                switched_on.push(interface.clone());
            }
            if interfaces.has_link(interface) {
                return Ok(interface.clone());
            }
        }
        if Instant::now() >= deadline {
            let seconds = wait.as_secs();
            return Err(if switched_on.is_empty() {
                let wanted = wanted.unwrap_or("there").to_owned();
                Error::NoInterface { wanted, seconds, found: list(&all) }
            } else {
                Error::NoLink { found: list(&switched_on), seconds }
            });
        }
        thread::sleep(INTERVAL);
    }
}

fn lease(
    interface: Interface,
    deadline: Instant,
    wait: Duration,
) -> Result<(Attached, Vec<IpAddr>), Error> {
    let lease = dhcp::acquire(&interface, deadline).map_err(failed("use DHCP on", &interface))?;
    let Some(lease) = lease else {
        return Err(Error::NoLease { interface: interface.to_string(), seconds: wait.as_secs() });
    };
    let attached = Attached {
        interface,
        address: lease.address.into(),
        prefix: lease.prefix,
        gateway: lease.gateway.map(IpAddr::V4),
    };
    Ok((attached, lease.nameservers))
}

fn configure(attached: &Attached) -> Result<(), Error> {
    let Attached { interface, address, prefix, gateway } = attached;
    let mut kernel = RtNetlink::open().map_err(failed("configure", interface))?;
    kernel
        .add_address(interface.index, *address, *prefix)
        .map_err(failed("give an address to", interface))?;
    if let Some(gateway) = gateway {
        kernel
            .add_default_route(interface.index, *gateway)
            .map_err(failed("set the router of", interface))?;
    }
    Ok(())
}

fn failed(what: &'static str, interface: &Interface) -> impl FnOnce(io::Error) -> Error {
    let interface = interface.to_string();
    move |source| Error::Setup { what, interface, source }
}

fn list(interfaces: &[Interface]) -> String {
    let shown: Vec<String> = interfaces.iter().map(Interface::to_string).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn addresses_need_no_resolver() {
        assert_eq!(resolve("10.0.2.2", 22).unwrap(), ([10, 0, 2, 2], 22).into());
        let ipv6 = "[fec0::2]:2049".parse().unwrap();
        assert_eq!(resolve("[fec0::2]", 2049).unwrap(), ipv6);
        assert_eq!(resolve("fec0::2", 2049).unwrap(), ipv6);
    }

    #[test]
    fn waiting_for_a_server_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        wait_for_server(server, Duration::from_secs(10)).unwrap();
        drop(listener);
        let started = Instant::now();
        let error = wait_for_server(server, Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, Error::Server { .. }));
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn an_interface_that_is_not_there_is_waited_for_in_vain() {
        let network = Network { interface: Some("none0".into()), ..Network::default() };
        let error = up(&network, Duration::from_millis(1)).unwrap_err();
        assert!(error.to_string().starts_with("no network interface is none0 "), "{error}");
    }
}
