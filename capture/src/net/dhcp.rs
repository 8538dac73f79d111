//! Asks a DHCP server for an address (RFC 2131): discover, offer, request, acknowledgement.
//!
//! There is no renewal: a capture ends long before usual leases do.

pub mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use smoltcp::wire::{DHCP_CLIENT_PORT, DHCP_SERVER_PORT};
use socket2::{Domain, Protocol, Socket, Type};

use super::interface::Interface;
use message::{Client, Reply};

/// How long the first answer may take; every further one twice as long (RFC 2131, 4.1) ...
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// ... up to this: the link of a switch may need half a minute until it carries anything.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Larger than what servers send to clients that ask for no more (RFC 2131, section 2: 576).
const PACKET: usize = 1500;

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address of this machine.
    pub address: Ipv4Addr,
    /// How many of its leading bits name the network.
    pub prefix: u8,
    /// The router, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The name servers.
    pub nameservers: Vec<IpAddr>,
}

/// Gets an address for `interface`, which is on and has none yet, until `deadline`.
///
/// `None` if no server gave one in time.
pub fn acquire(interface: &Interface, deadline: Instant) -> io::Result<Option<Lease>> {
    let socket = open(interface)?;
    let client = Client { mac: interface.mac, transaction: transaction(interface) };
    let mut wait = FIRST_WAIT;
    let mut offer = None;
    while Instant::now() < deadline {
        let request = match &offer {
            None => client.discover(),
            Some(offer) => client.request(offer),
        };
        send(&socket, &request)?;
        match receive(&socket, &client, deadline.min(Instant::now() + wait))? {
            Some(Reply::Offer(offered)) => offer = Some(offered),
            Some(Reply::Acknowledged(lease)) => return Ok(Some(lease)),
            // The server takes its offer back, or has gone.
            Some(Reply::Refused) | None => {
                offer = None;
                wait = LONGEST_WAIT.min(wait * 2);
            }
        }
    }
    Ok(None)
}

/// A socket that sends and receives on this interface only, whatever routes there are.
fn open(interface: &Interface) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.name.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, DHCP_CLIENT_PORT)).into())?;
    Ok(socket.into())
}

fn send(socket: &UdpSocket, packet: &[u8]) -> io::Result<()> {
    match socket.send_to(packet, (Ipv4Addr::BROADCAST, DHCP_SERVER_PORT)) {
        // A link that comes and goes is there again for one of the next packets.
        Err(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(()),
        other => other.map(drop),
    }
}

/// The next reply to the client, until `deadline`.
fn receive(socket: &UdpSocket, client: &Client, deadline: Instant) -> io::Result<Option<Reply>> {
    let mut packet = [0; PACKET];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut packet) {
            Ok(length) => {
                if let Some(reply) = client.understand(&packet[..length]) {
                    return Ok(Some(reply));
                }
            }
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NetworkDown, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | NetworkDown | TimedOut | WouldBlock)
}

/// A number that no other client on the link uses now. Soon after the start there may be no
/// random ones yet; then the interface's own address has to do.
fn transaction(interface: &Interface) -> u32 {
    let mut bytes = [0; 4];
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(4) => u32::from_ne_bytes(bytes),
        Ok(_) | Err(_) => {
            let [_, _, a, b, c, d] = interface.mac.0;
            u32::from_ne_bytes([a, b, c, d])
        }
    }
}
