//! Mounts a directory of an NFS server, without `mount.nfs`: what that program finds out is given to
//! the kernel as options (nfs(5); kernel 6.1 fs/nfs/fs_context.c).

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustix::io::Errno;

use super::filesystem::{MOUNT_POINT, Mounted};
use crate::config::Config;
use crate::journal::Journal;
use crate::vmcore::Vmcore;
use crate::{mount, net};

/// TCP port of NFS servers (RFC 7530, 2.1).
const PORT: u16 = 2049;

/// Versions that are tried, the best first.
const VERSIONS: [&str; 4] = ["4.2", "4.1", "4.0", "3"];

/// What is mounted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share<'a> {
    /// Name or address of the server.
    pub server: &'a str,
    /// The exported directory.
    pub export: &'a Path,
    /// Mount options of the user.
    pub options: &'a str,
}

/// Brings the network up, waits for the server, mounts the share, and makes the dump's directory
/// below `path`.
pub(super) fn open(
    share: &Share,
    path: &Path,
    config: &Config,
    core: &Vmcore,
    journal: &mut Journal,
) -> Result<Mounted, super::Error> {
    let attached = net::up(&config.network, config.wait)?;
    journal.say(&attached);
    let options = Options(share.options);
    let server = net::resolve(share.server, options.port())?;
    net::wait_for_server(server, config.wait)?;
    let mounted = mount_share(server.ip(), share.export, options, attached.address)?;
    Mounted::prepare(mounted, path, core)
}

/// Mounts `export` of the server with the best version that the server has; `client` is the address
/// of this machine.
fn mount_share(
    server: IpAddr,
    export: &Path,
    options: Options,
    client: IpAddr,
) -> Result<mount::Mounted, mount::Error> {
    let source = source(server, export);
    let versions = options.versions();
    let (last, better) = versions.split_last().unwrap_or((&"3", &[]));
    let attempt = |version: &str| {
        let options = options.of_mount(version, server, client);
        mount::Mounted::network("nfs", Path::new(&source), &options, Path::new(MOUNT_POINT))
    };
    for version in better {
        match attempt(version) {
            Err(mount::Error::Mount { source, .. }) if is_unknown_version(&source) => {}
            other => return other,
        }
    }
    attempt(last)
}

/// Whether the server, or this kernel, lacks the version.
fn is_unknown_version(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PROTONOSUPPORT.raw_os_error())
}

fn source(server: IpAddr, export: &Path) -> String {
    match server {
        IpAddr::V4(address) => format!("{address}:{}", export.display()),
        IpAddr::V6(address) => format!("[{address}]:{}", export.display()),
    }
}

/// Mount options of the user, separated by commas.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'a>(&'a str);

impl<'a> Options<'a> {
    /// The TCP port that they name, or the usual one.
    fn port(self) -> u16 {
        self.value("port").and_then(|port| port.parse().ok()).unwrap_or(PORT)
    }

    fn value(self, key: &str) -> Option<&'a str> {
        let mut pairs = self.0.split(',').filter_map(|option| option.split_once('='));
        pairs.rfind(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The versions to try.
    fn versions(self) -> Vec<&'a str> {
        let wanted = ["vers", "nfsvers"].iter().find_map(|key| self.value(key));
        wanted.map_or(VERSIONS.to_vec(), |version| vec![version])
    }

    /// What the kernel is told for one version.
    fn of_mount(self, version: &str, server: IpAddr, client: IpAddr) -> CString {
        // The kernel refuses a protocol of the other family of addresses.
        let tcp = if server.is_ipv6() { "tcp6" } else { "tcp" };
        let mut options = vec![
            format!("vers={version},addr={server},clientaddr={client},proto={tcp}"),
            // A server that goes away must end the dump with an error. Three minutes are much for an
            // answer, but a slow one may have gigabytes to write out first.
            "soft,timeo=600,retrans=2,sec=sys".into(),
        ];
        // Version 3 has locks apart, with servers of their own that nobody started.
        options.extend((version == "3").then(|| format!("nolock,mountproto={tcp}")));
        options.extend((!self.0.is_empty()).then(|| self.0.to_owned()));
        // The kernel would see no more than what stands before a NUL either.
        CString::new(options.join(",").replace('\0', "")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(options: Options, version: &str) -> String {
        let told = options.of_mount(version, [10, 0, 2, 2].into(), [10, 0, 2, 15].into());
        told.into_string().unwrap()
    }

    #[test]
    fn the_kernel_is_told_what_mount_nfs_would_find_out() {
        let newest = told(Options::default(), "4.2");
        assert!(newest.starts_with("vers=4.2,addr=10.0.2.2,clientaddr=10.0.2.15,proto=tcp,soft,"));
        assert!(!newest.contains("nolock"));
        assert!(told(Options::default(), "3").ends_with(",nolock,mountproto=tcp"));
        let six = "fec0::2".parse().unwrap();
        let told = Options::default().of_mount("3", six, six).into_string().unwrap();
        assert!(told.contains("proto=tcp6,") && told.ends_with("mountproto=tcp6"), "{told}");
        assert_eq!(source([10, 0, 2, 2].into(), Path::new("/dumps")), "10.0.2.2:/dumps");
        assert_eq!(source("fec0::2".parse().unwrap(), Path::new("/x")), "[fec0::2]:/x");
    }

    #[test]
    fn options_of_the_user_come_last_and_choose_port_and_version() {
        let options = Options("vers=3,port=20490,mountport=20491,port=2");
        assert_eq!((options.port(), options.versions()), (2, vec!["3"]));
        assert!(
            told(options, "3")
                .ends_with(",nolock,mountproto=tcp,vers=3,port=20490,mountport=20491,port=2")
        );
        assert_eq!((Options::default().port(), Options::default().versions().len()), (2049, 4));
    }
}
