//! NFS-Ganesha: an NFS server that needs nothing of the host's kernel, and for version 4 no
//! portmapper.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{ADDRESS, Error, dumps, failed};

/// The name of the export.
const EXPORT: &str = "/dumps";

/// Writes its configuration and returns its command.
pub(super) fn command(folder: &Path, port: u16) -> Result<Command, Error> {
    let recovery = folder.join("recovery");
    fs::create_dir_all(&recovery).map_err(failed(&recovery))?;
    let configuration = folder.join("ganesha.conf");
    let text = format!(
        "NFS_CORE_PARAM {{\n\
         \tProtocols = 4;\n\tNFS_Port = {port};\n\tBind_addr = 127.0.0.1;\n\
         \tEnable_NLM = false;\n\tEnable_RQUOTA = false;\n\tEnable_UDP = false;\n\
         }}\n\
         NFSv4 {{\n\
         \tRecoveryBackend = fs;\n\tRecoveryRoot = {};\n\tGraceless = true;\n\
         }}\n\
         EXPORT {{\n\
         \tExport_Id = 1;\n\tPath = {};\n\tPseudo = {EXPORT};\n\
         \tAccess_Type = RW;\n\tSquash = No_Root_Squash;\n\tSecType = sys;\n\
         \tProtocols = 4;\n\tTransports = TCP;\n\tFSAL {{ Name = VFS; }}\n\
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
pub(super) fn target(port: u16) -> Vec<String> {
    let place = format!("{ADDRESS}:{EXPORT}");
    let options = format!("port={port},timeo=30,retrans=1");
    ["-f", "nfs", "-c", &place, "--nfs-options", &options].map(String::from).into()
}
