//! What a DHCP server, or somebody else on the network, answers.
#![no_main]

use capture::net::dhcp::message::{Client, Reply};
use capture::net::interface::Mac;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    // Those of the packet, so that it is for this client.
    let mut mac = [0; 6];
    mac.copy_from_slice(packet.get(28..34).unwrap_or(&[0; 6]));
    let transaction = packet.get(4..8).and_then(|bytes| bytes.first_chunk());
    let transaction = transaction.map_or(0, |bytes| u32::from_be_bytes(*bytes));
    match (Client { mac: Mac(mac), transaction }).understand(packet) {
        Some(Reply::Offer(offer)) => {
            let _ = (Client { mac: Mac(mac), transaction }).request(&offer);
        }
        Some(Reply::Acknowledged(lease)) => assert!(lease.prefix <= 32),
        Some(Reply::Refused) | None => {}
    }
});
