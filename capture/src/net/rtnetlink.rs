//! Changes the kernel's network configuration: links, addresses, routes (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    ErrorBuffer, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send, socket};

/// More than any acknowledgement: it repeats the request.
const REPLY: usize = 4096;

/// A connection to the kernel.
#[derive(Debug)]
pub struct RtNetlink {
    socket: OwnedFd,
    sequence: u32,
}

impl RtNetlink {
    /// Connects.
    pub fn open() -> io::Result<Self> {
        let family = rustix::net::AddressFamily::NETLINK;
        // No protocol, 0, is NETLINK_ROUTE.
        let socket = socket(family, SocketType::DGRAM, None)?;
        // Port 0 is the kernel's.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Switches on the interface with this index.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header = LinkHeader {
            index,
            flags: LinkFlags::Up,
            change_mask: LinkFlags::Up,
            ..LinkHeader::default()
        };
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives the interface an address, and the route to its network. An address that it has
    /// already is no error.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header = AddressHeader {
            family: family(address),
            prefix_len: prefix,
            // Nobody else has the address of a machine that has crashed: an address of IPv6 need
            // not wait until the others were asked.
            flags: AddressHeaderFlags::Nodad,
            index,
            ..AddressHeader::default()
        };
        message.attributes =
            vec![AddressAttribute::Address(address), AddressAttribute::Local(address)];
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends through `gateway` on the interface what no other route is for.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Boot,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        let gateway = RouteAddress::from(gateway);
        message.attributes = vec![RouteAttribute::Gateway(gateway), RouteAttribute::Oif(index)];
        self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends a request and waits until the kernel has done it.
    fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let bytes = encode(request, flags, self.sequence);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut reply = [0; REPLY];
        let (length, _) = recv(&self.socket, &mut reply, RecvFlags::empty())?;
        acknowledged(&reply[..length.min(REPLY)], self.sequence)
    }
}

fn encode(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads the kernel's answer to the request number `sequence`.
fn acknowledged(reply: &[u8], sequence: u32) -> io::Result<()> {
    let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
    let reply = NetlinkBuffer::new_checked(reply).map_err(malformed)?;
    if reply.message_type() != NLMSG_ERROR || reply.sequence_number() != sequence {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let error = ErrorBuffer::new_checked(reply.payload()).map_err(malformed)?;
    match error.code() {
        None => Ok(()),
        // Negative, as everywhere in the kernel.
        Some(code) => Err(io::Error::from_raw_os_error(code.get().saturating_neg())),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header of an answer (kernel 6.1 include/uapi/linux/netlink.h), then struct nlmsgerr.
    fn answer(kind: u16, sequence: u32, code: i32) -> Vec<u8> {
        let mut bytes = 36u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn only_the_acknowledgement_of_the_request_counts() {
        assert!(acknowledged(&answer(2, 7, 0), 7).is_ok());
        let refused = acknowledged(&answer(2, 7, -1), 7).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        for wrong in [answer(2, 6, 0), answer(3, 7, 0), answer(2, 7, 0)[..20].to_vec(), vec![]] {
            let error = acknowledged(&wrong, 7).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{wrong:?}");
        }
    }

    #[test]
    fn the_kernel_knows_what_is_said() {
        // No interface has this index: the request is understood and refused.
        let mut kernel = RtNetlink::open().unwrap();
        let index = i32::MAX as u32;
        let refused = kernel.set_up(index).unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(1 | 19)), "{refused}");
        let refused = kernel.add_address(index, [10, 0, 2, 15].into(), 24).unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(1 | 19)), "{refused}");
    }
}
