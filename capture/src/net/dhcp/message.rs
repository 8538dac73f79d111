//! The messages between a DHCP client and its server.

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use super::Lease;
use crate::net::interface::Mac;

/// Options that the server is asked for (RFC 2132): subnet mask, router, name servers.
const WANTED: [u8; 3] = [1, OPT_ROUTER, 6];
const OPT_ROUTER: u8 = 3;

/// Some servers and relays drop what is shorter than a BOOTP message (RFC 1542, 2.1).
const SHORTEST: usize = 300;

/// Who asks, and in which conversation.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The interface that asks.
    pub mac: Mac,
    /// The number of this conversation.
    pub transaction: u32,
}

/// An address that a server would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a discovery.
    Offer(Offer),
    /// To a request: the address may be used.
    Acknowledged(Lease),
    /// To a request: it may not.
    Refused,
}

impl Client {
    /// Asks all servers for offers.
    pub fn discover(&self) -> Vec<u8> {
        encode(&self.message(DhcpMessageType::Discover))
    }

    /// Takes an offer.
    pub fn request(&self, offer: &Offer) -> Vec<u8> {
        encode(&DhcpRepr {
            requested_ip: Some(offer.address),
            server_identifier: Some(offer.server),
            ..self.message(DhcpMessageType::Request)
        })
    }

    /// What `packet` says to this client; `None` if it is for another or makes no sense.
    pub fn understand(&self, packet: &[u8]) -> Option<Reply> {
        let packet = DhcpPacket::new_checked(packet).ok()?;
        let message = DhcpRepr::parse(&packet).ok()?;
        let mac = EthernetAddress(self.mac.0);
        if message.transaction_id != self.transaction || message.client_hardware_address != mac {
            return None;
        }
        match message.message_type {
            DhcpMessageType::Offer => Some(Reply::Offer(Offer {
                address: usable(message.your_ip)?,
                server: message.server_identifier?,
            })),
            DhcpMessageType::Ack => Some(Reply::Acknowledged(Lease {
                address: usable(message.your_ip)?,
                prefix: prefix(message.subnet_mask?)?,
                gateway: first_router(&packet),
                nameservers: message
                    .dns_servers
                    .iter()
                    .flatten()
                    .copied()
                    .map(IpAddr::V4)
                    .collect(),
            })),
            DhcpMessageType::Nak => Some(Reply::Refused),
            _of_a_client => None,
        }
    }

    fn message(&self, message_type: DhcpMessageType) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: EthernetAddress(self.mac.0),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            // An interface without address receives nothing else.
            broadcast: true,
            requested_ip: None,
            // Without it the server takes the MAC address, and gives what it gave the system.
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }
}

fn encode(message: &DhcpRepr) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len().max(SHORTEST)];
    let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
    let emitted = message.emit(&mut packet);
    debug_assert!(emitted.is_ok(), "the buffer has the length that was asked for");
    bytes
}

fn usable(address: Ipv4Addr) -> Option<Ipv4Addr> {
    let unusable = address.is_unspecified() || address.is_broadcast() || address.is_multicast();
    (!unusable).then_some(address)
}

/// The number of leading ones of a mask that has no others.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then_some(u8::try_from(ones).ok()?)
}

/// The option may list several; the first is preferred (RFC 2132, 3.5).
fn first_router(packet: &DhcpPacket<&[u8]>) -> Option<Ipv4Addr> {
    let option = packet.options().find(|option| option.kind == OPT_ROUTER)?;
    let address: [u8; 4] = *option.data.first_chunk()?;
    usable(address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client { mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]), transaction: 7 };

    /// A reply of a server, byte by byte (RFC 2131, figure 1).
    fn reply(transaction: u32, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend(transaction.to_be_bytes());
        bytes.extend([0; 4]); // secs, flags
        bytes.extend([0; 4]); // ciaddr
        bytes.extend([10, 0, 2, 15]); // yiaddr
        bytes.extend([0; 8]); // siaddr, giaddr
        bytes.extend(CLIENT.mac.0);
        bytes.resize(236, 0); // rest of chaddr, sname, file
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(options);
        bytes
    }

    const ACK: &[u8] = &[
        53, 1, 5, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, // type, server, mask
        3, 8, 10, 0, 2, 2, 10, 0, 2, 9, 6, 4, 10, 0, 2, 3, 255, // two routers, name server
    ];

    #[test]
    fn a_lease_is_taken_as_the_server_gives_it() {
        let lease = Lease {
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            gateway: Some([10, 0, 2, 2].into()),
            nameservers: vec![[10, 0, 2, 3].into()],
        };
        assert_eq!(CLIENT.understand(&reply(7, ACK)), Some(Reply::Acknowledged(lease)));
        let offer = Offer { address: [10, 0, 2, 15].into(), server: [10, 0, 2, 2].into() };
        let offered = reply(7, &[53, 1, 2, 54, 4, 10, 0, 2, 2, 255]);
        assert_eq!(CLIENT.understand(&offered), Some(Reply::Offer(offer)));
        assert_eq!(CLIENT.understand(&reply(7, &[53, 1, 6, 255])), Some(Reply::Refused));
    }

    #[test]
    fn what_is_for_others_or_damaged_is_nothing() {
        assert_eq!(CLIENT.understand(&reply(8, ACK)), None);
        let other = Client { mac: Mac([1; 6]), ..CLIENT };
        assert_eq!(other.understand(&reply(7, ACK)), None);
        let holes_in_mask = ACK.iter().map(|byte| if *byte == 255 { 253 } else { *byte });
        assert_eq!(CLIENT.understand(&reply(7, &holes_in_mask.collect::<Vec<_>>())), None);
        let whole = reply(7, ACK);
        for length in 0..whole.len() {
            // Any part of it, and no panic.
            let _ = CLIENT.understand(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = CLIENT.understand(&changed);
        }
    }

    #[test]
    fn what_is_sent_says_what_is_wanted() {
        let offer = Offer { address: [10, 0, 2, 15].into(), server: [10, 0, 2, 2].into() };
        let (discover, request) = (CLIENT.discover(), CLIENT.request(&offer));
        assert_eq!(discover.len(), SHORTEST);
        for (packet, message_type) in [(&discover, 1), (&request, 3)] {
            assert_eq!(packet[..8], [1, 1, 6, 0, 0, 0, 0, 7]);
            assert_eq!(packet[10..12], [0x80, 0]);
            assert_eq!(packet[28..34], CLIENT.mac.0);
            assert_eq!(packet[236..243], [99, 130, 83, 99, 53, 1, message_type]);
        }
        let has = |option: &[u8]| request.windows(option.len()).any(|window| window == option);
        assert!(has(&[50, 4, 10, 0, 2, 15]) && has(&[54, 4, 10, 0, 2, 2]));
    }
}
