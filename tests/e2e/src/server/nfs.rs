//! NFS-Ganesha: an NFS server that needs nothing of the host's kernel, and for version 4 no
//! portmapper.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::{ADDRESS, Error, START, dumps, failed, spawn};

/// Which version a server has, and at which TCP ports.
pub(super) enum Version {
    /// 4: one port is enough.
    Four { port: u16 },
    /// 3, with the mount protocol beside it.
    Three { port: u16, mount_port: u16 },
}

/// Where a portmapper answers programs of its own host (rpcbind(8)).
const PORTMAPPER: &str = "/run/rpcbind.sock";

/// The name of the export.
const EXPORT: &str = "/dumps";

/// Writes its configuration and returns its command.
pub(super) fn command(folder: &Path, version: &Version) -> Result<Command, Error> {
    let recovery = folder.join("recovery");
    fs::create_dir_all(&recovery).map_err(failed(&recovery))?;
    let configuration = folder.join("ganesha.conf");
    let (protocol, port, mount_port) = match version {
        Version::Four { port } => (4, port, String::new()),
        Version::Three { port, mount_port } => (3, port, format!("\tMNT_Port = {mount_port};\n")),
    };
    let text = format!(
        "NFS_CORE_PARAM {{\n\
         \tProtocols = {protocol};\n\tNFS_Port = {port};\n{mount_port}\tBind_addr = 127.0.0.1;\n\
         \tmount_path_pseudo = true;\n\
         \tEnable_NLM = false;\n\tEnable_RQUOTA = false;\n\tEnable_UDP = false;\n\
         }}\n\
         NFSv4 {{\n\
         \tRecoveryBackend = fs;\n\tRecoveryRoot = {};\n\tGraceless = true;\n\
         }}\n\
         EXPORT {{\n\
         \tExport_Id = 1;\n\tPath = {};\n\tPseudo = {EXPORT};\n\
         \tAccess_Type = RW;\n\tSquash = No_Root_Squash;\n\tSecType = sys;\n\
         \tProtocols = {protocol};\n\tTransports = TCP;\n\tFSAL {{ Name = VFS; }}\n\
         }}\n",
        recovery.display(),
        dumps(folder).display()
    );
    fs::write(&configuration, text).map_err(failed(&configuration))?;
    let mut command = Command::new("ganesha.nfsd");
    command.arg("-F").arg("-f").arg(&configuration);
    command.arg("-L").arg(folder.join("log")).arg("-p").arg(folder.join("pid"));
    Ok(command)
}

/// How `kdump mkinitrd` is told of it.
pub(super) fn target(version: &Version) -> Vec<String> {
    let place = format!("{ADDRESS}:{EXPORT}");
    let ports = match version {
        Version::Four { port } => format!("port={port}"),
        Version::Three { port, mount_port } => format!("vers=3,port={port},mountport={mount_port}"),
    };
    let options = format!("{ports},timeo=30,retrans=1");
    ["-f", "nfs", "-c", &place, "--nfs-options", &options].map(String::from).into()
}

/// Starts the portmapper without which Ganesha does not serve version 3, unless the host has one
/// running. The guest does not ask it: it is told the ports.
pub(super) fn portmapper(folder: &Path) -> Result<Option<Child>, Error> {
    if UnixStream::connect(PORTMAPPER).is_ok() {
        return Ok(None);
    }
    let mut command = Command::new("rpcbind");
    command.arg("-f");
    let mut child = spawn(command, folder)?;
    let deadline = Instant::now() + START;
    while let Err(source) = UnixStream::connect(PORTMAPPER) {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(Path::new(PORTMAPPER))(source));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(child))
}
