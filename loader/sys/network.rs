//! Takes the network down before a jump that no shutdown precedes, so that no device writes
//! received packets into the next kernel's memory.

use std::{
    fs, io, mem,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
};

/// Where the kernel lists its interfaces.
const INTERFACES: &str = "/sys/class/net";

/// An interface that stayed up.
#[derive(Debug, thiserror::Error)]
#[error("cannot take network interface {interface} down")]
pub struct StillUp {
    /// Its name.
    pub interface: String,
    /// Why.
    pub source: io::Error,
}

/// Takes every interface down but the loopback ones. One that fails does not keep the others up;
/// those that failed are returned.
pub fn take_down() -> io::Result<Vec<StillUp>> {
    let socket = UnixDatagram::unbound()?;
    let mut still_up = Vec::new();
    for entry in fs::read_dir(INTERFACES)? {
        let entry = entry?;
        // bonding_masters is a plain file there.
        if !entry.metadata().is_ok_and(|metadata| metadata.is_dir() || metadata.is_symlink()) {
            continue;
        }
        let interface = entry.file_name().to_string_lossy().into_owned();
        if let Err(source) = clear_up(&socket, &interface) {
            still_up.push(StillUp { interface, source });
        }
    }
    Ok(still_up)
}

fn clear_up(socket: &UnixDatagram, interface: &str) -> io::Result<()> {
    let mut request = request(interface)?;
    let mut flags = match flags(socket, &mut request) {
        // It went with the one it was stacked on.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
        flags => flags?,
    };
    if flags & libc::IFF_LOOPBACK != 0 || flags & libc::IFF_UP == 0 {
        return Ok(());
    }
    flags &= !libc::IFF_UP;
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's ifr_flags are a short")]
    let flags = flags as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is: name ended by a NUL, flags set.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The interface's `IFF_*` flags.
fn flags(socket: &UnixDatagram, request: &mut libc::ifreq) -> io::Result<libc::c_int> {
    // SAFETY: SIOCGIFFLAGS reads the name of one ifreq, ended by a NUL, and writes its flags.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut *request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has set this field of the union; any bits are a valid c_short.
    Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// An ifreq for the interface.
fn request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is integers, arrays and a union of such: all zeros are a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_flags() {
        let socket = UnixDatagram::unbound().unwrap();
        let flags = flags(&socket, &mut request("lo").unwrap()).unwrap();
        assert_ne!(flags & libc::IFF_LOOPBACK, 0);
        clear_up(&socket, "lo").unwrap();
        let after = super::flags(&socket, &mut request("lo").unwrap()).unwrap();
        assert_eq!(after, flags, "left as it was");
    }

    #[test]
    fn an_interface_that_went_away_is_down() {
        let socket = UnixDatagram::unbound().unwrap();
        clear_up(&socket, "no-such-if").unwrap();
    }

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        assert!(request("sixteen-bytes-ab").is_err());
        assert!(request("fifteen-bytes-a").is_ok());
    }
}
