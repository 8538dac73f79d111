//! How the capture kernel reaches the network.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The network of targets that are not on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Name or MAC address of the interface; `None` takes the first that has a link.
    pub interface: Option<String>,
    /// Where its address comes from.
    pub address: Address,
    /// The router, with a static address.
    pub gateway: Option<IpAddr>,
    /// The name servers, with a static address.
    pub nameservers: Vec<IpAddr>,
}

/// Where the address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// A DHCP server gives it.
    #[default]
    Dhcp,
    /// It is this one: `ADDRESS/PREFIX`.
    Static {
        /// The address.
        address: IpAddr,
        /// How many of its leading bits name the network.
        prefix: u8,
    },
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "dhcp or ADDRESS/PREFIX, such as 192.168.0.2/24";
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        let (address, prefix) = text.split_once('/').ok_or(expected)?;
        let address: IpAddr = address.parse().map_err(|_| expected)?;
        let prefix: u8 = prefix.parse().map_err(|_| expected)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits { Err(expected) } else { Ok(Self::Static { address, prefix }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Static { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_prefix_that_fits() {
        for text in ["dhcp", "10.0.2.15/24", "fe80::1/64"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "10.0.2.15", "10.0.2.15/33", "fe80::1/129", "host/8"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
