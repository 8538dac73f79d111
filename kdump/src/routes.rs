//! Which network interface of this machine leads to a server.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// `RTF_UP` (kernel 6.1 include/uapi/linux/route.h).
const RTF_UP: u32 = 1;

/// The name of the interface that the route to `server` leaves by; `None` without a route. `net` is
/// `/proc/net`.
pub fn interface_towards(server: IpAddr, net: &Path) -> Option<String> {
    let (file, parse): (_, fn(&str) -> Option<Route>) = match server {
        IpAddr::V4(_) => ("route", ipv4_route),
        IpAddr::V6(_) => ("ipv6_route", ipv6_route),
    };
    let table = fs::read_to_string(net.join(file)).ok()?;
    let address = bits(server);
    let routes = table.lines().filter_map(parse).filter(|route| route.leads_to(address));
    // As the kernel chooses: the narrowest, then the cheapest.
    let best = routes.max_by_key(|route| (route.mask.count_ones(), u32::MAX - route.metric))?;
    Some(best.interface)
}

/// A route to `network` under `mask`, both in the order of the network at the end of 128 bits.
struct Route {
    network: u128,
    mask: u128,
    metric: u32,
    interface: String,
}

impl Route {
    fn leads_to(&self, address: u128) -> bool {
        address & self.mask == self.network
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A line of /proc/net/route (kernel 6.1 net/ipv4/fib_trie.c, fib_route_seq_show): addresses are
/// what this machine's words hold when their bytes are in the network's order.
fn ipv4_route(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [interface, network, _, flags, _, _, metric, mask, ..] = words[..] else { return None };
    let word = |text| Some(u32::from_be(u32::from_str_radix(text, 16).ok()?).into());
    let route = Route {
        network: word(network)?,
        mask: word(mask)?,
        metric: metric.parse().ok()?,
        interface: interface.to_owned(),
    };
    is_up(flags).then_some(route)
}

/// A line of /proc/net/ipv6_route (kernel 6.1 net/ipv6/route.c, ipv6_route_native_seq_show).
fn ipv6_route(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [network, prefix, _, _, _, metric, _, _, flags, interface] = words[..] else {
        return None;
    };
    let prefix = u32::from_str_radix(prefix, 16).ok().filter(|prefix| *prefix <= 128)?;
    let route = Route {
        network: u128::from_str_radix(network, 16).ok()?,
        mask: u128::MAX.checked_shl(128 - prefix).unwrap_or(0),
        metric: u32::from_str_radix(metric, 16).ok()?,
        interface: interface.to_owned(),
    };
    is_up(flags).then_some(route)
}

fn is_up(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & RTF_UP != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a line has it on the machine of the test.
    fn word(address: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(address))
    }

    #[test]
    fn the_narrowest_and_cheapest_route_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let line = |interface: &str, network, mask, flags: &str, metric: &str| {
            let (network, mask, none) = (word(network), word(mask), word([0; 4]));
            format!("{interface}\t{network}\t{none}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n".to_owned()
            + &line("wlan0", [0; 4], [0; 4], "0003", "600")
            + &line("eth0", [0; 4], [0; 4], "0003", "100")
            + &line("eth1", [10, 0, 2, 0], [255, 255, 255, 0], "0001", "100")
            + &line("eth2", [10, 0, 2, 2], [255; 4], "0000", "0");
        fs::write(dir.path().join("route"), table).unwrap();
        let towards = |address: [u8; 4]| interface_towards(address.into(), dir.path());
        assert_eq!(towards([10, 0, 2, 2]).as_deref(), Some("eth1"));
        assert_eq!(towards([10, 0, 3, 2]).as_deref(), Some("eth0"));
        assert_eq!(interface_towards("fec0::2".parse().unwrap(), dir.path()), None);
    }

    #[test]
    fn the_next_generation_has_a_table_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let none = "0".repeat(32);
        let table = format!(
            "fec00000000000000000000000000000 40 {none} 00 {none} 00000100 1 0 00000001 eth0\n\
             {none} 00 {none} 00 {none} 00000400 1 0 00000003 eth1\n"
        );
        fs::write(dir.path().join("ipv6_route"), table).unwrap();
        let towards = |address: &str| interface_towards(address.parse().unwrap(), dir.path());
        assert_eq!(towards("fec0::2").as_deref(), Some("eth0"));
        assert_eq!(towards("2001:db8::1").as_deref(), Some("eth1"));
    }
}
