//! The network interfaces of this machine, from /sys/class/net
//! (kernel 6.1 Documentation/ABI/testing/sysfs-class-net).

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

/// `type` of Ethernet (kernel 6.1 include/uapi/linux/if_arp.h); others need more than an address.
const ARPHRD_ETHER: &str = "1";

/// The address of an interface on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "six bytes, such as 52:54:00:12:34:56";
        let is_byte = |text: &str| text.len() == 2 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let byte = |text| u8::from_str_radix(text, 16).ok().filter(|_| is_byte(text));
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        Ok(Self(bytes.ok_or(expected)?.try_into().map_err(|_| expected)?))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// An Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name: without udev the first one is `eth0`.
    pub name: String,
    /// The kernel's number.
    pub index: u32,
    /// Its address.
    pub mac: Mac,
}

impl Interface {
    /// Whether `wanted` is its name or its MAC address.
    pub fn is(&self, wanted: &str) -> bool {
        self.name == wanted || wanted.parse() == Ok(self.mac)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.mac)
    }
}

/// Where interfaces are described.
#[derive(Debug)]
pub struct Interfaces {
    class: PathBuf,
}

impl Default for Interfaces {
    /// The running kernel's.
    fn default() -> Self {
        Self { class: "/sys/class/net".into() }
    }
}

impl Interfaces {
    /// All Ethernet interfaces that are there now, in the order in which the kernel found them.
    pub fn all(&self) -> Vec<Interface> {
        let Ok(entries) = fs::read_dir(&self.class) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut all: Vec<Interface> = names.filter_map(|name| self.interface(name)).collect();
        all.sort_by_key(|interface| interface.index);
        all
    }

    /// Whether it is on and has a link.
    pub fn has_link(&self, interface: &Interface) -> bool {
        // It cannot be read while the interface is off.
        self.attribute(&interface.name, "carrier").is_some_and(|carrier| carrier == "1")
    }

    fn interface(&self, name: String) -> Option<Interface> {
        if self.attribute(&name, "type")? != ARPHRD_ETHER {
            return None;
        }
        let index = self.attribute(&name, "ifindex")?.parse().ok()?;
        let mac = self.attribute(&name, "address")?.parse().ok()?;
        Some(Interface { name, index, mac })
    }

    fn attribute(&self, name: &str, attribute: &str) -> Option<String> {
        let text = fs::read_to_string(self.class.join(name).join(attribute)).ok()?;
        Some(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_is_found_by_name_and_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str, attributes: &[(&str, &str)]| {
            fs::create_dir(dir.path().join(name)).unwrap();
            for (attribute, value) in attributes {
                fs::write(dir.path().join(name).join(attribute), format!("{value}\n")).unwrap();
            }
        };
        add("lo", &[("type", "772"), ("ifindex", "1"), ("address", "00:00:00:00:00:00")]);
        add("eth1", &[("type", "1"), ("ifindex", "3"), ("address", "52:54:00:12:34:57")]);
        add(
            "eth0",
            &[("type", "1"), ("ifindex", "2"), ("address", "52:54:00:12:34:56"), ("carrier", "1")],
        );
        let interfaces = Interfaces { class: dir.path().into() };
        let all = interfaces.all();
        let shown: Vec<String> = all.iter().map(Interface::to_string).collect();
        assert_eq!(shown, ["eth0 (52:54:00:12:34:56)", "eth1 (52:54:00:12:34:57)"]);
        assert!(interfaces.has_link(&all[0]) && !interfaces.has_link(&all[1]));
        assert!(all[0].is("eth0") && all[1].is("52:54:00:12:34:57"));
        assert!(!all[0].is("eth1") && !all[0].is("52:54:00:12:34:57"));
    }

    #[test]
    fn a_mac_address_is_six_bytes() {
        assert_eq!("52:54:00:12:34:5A".parse(), Ok(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x5a])));
        for bad in [
            "",
            "eth0",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:0:12:34:5",
            "+2:54:00:12:34:56",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
