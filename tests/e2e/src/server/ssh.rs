//! OpenSSH's server, run as the user that runs the harness, with keys of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ADDRESS, Error, dumps, failed};
use crate::process;

/// Where the server, run as root, confines itself; usually its service makes it.
const CONFINEMENT: &str = "/run/sshd";

/// Makes keys and configuration and returns its command.
pub(super) fn command(folder: &Path, port: u16) -> Result<Command, Error> {
    if process::output(Command::new("id").arg("-u"))?.trim() == "0" {
        let confinement = Path::new(CONFINEMENT);
        fs::create_dir_all(confinement).map_err(failed(confinement))?;
    }
    let (host_key, identity) = (host_key(folder), identity(folder));
    make_key(&host_key)?;
    make_key(&identity)?;
    let configuration = folder.join("sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile {}\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n",
        host_key.display(),
        public(&identity).display(),
        folder.join("pid").display()
    );
    fs::write(&configuration, text).map_err(failed(&configuration))?;
    // It starts itself anew for each session, and wants to know its own path for that.
    let mut command = Command::new("/usr/sbin/sshd");
    command.arg("-D").arg("-f").arg(&configuration).arg("-E").arg(folder.join("log"));
    Ok(command)
}

/// How `kdump mkinitrd` is told of it.
pub(super) fn target(folder: &Path, port: u16) -> Result<Vec<String>, Error> {
    let user = process::output(Command::new("id").arg("-un"))?;
    let place = format!("{}@{ADDRESS}:{}", user.trim(), dumps(folder).display());
    let (identity, host_key) = (identity(folder), public(&host_key(folder)));
    let words = [
        ("-f", "ssh".into()),
        ("-c", place),
        ("--ssh-port", port.to_string()),
        ("--ssh-key", identity.display().to_string()),
        ("--ssh-host-key", host_key.display().to_string()),
    ];
    Ok(words.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect())
}

fn make_key(path: &Path) -> Result<(), Error> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"]).arg(path);
    Ok(process::output(&mut keygen).map(drop)?)
}

fn host_key(folder: &Path) -> PathBuf {
    folder.join("host_key")
}

fn identity(folder: &Path) -> PathBuf {
    folder.join("identity")
}

fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}
