//! Runs programs of a Debian system that lies in a folder.

use std::path::Path;
use std::process::Command;

use crate::process;
use crate::setup;

/// A program of the system in `root`, which sees that as its root; a user does that in a namespace.
///
/// The kernel below is the host's: no program there may load a kernel or reboot, whatever the
/// packages' scripts start.
pub fn command(root: &Path, program: &str) -> Command {
    let mut command = if setup::is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_boot", "--inh-caps=-sys_boot", "chroot"]);
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    command
        .arg(root)
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs it and returns what it wrote to stdout.
pub fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<String, process::Error> {
    process::output(command(root, program).args(arguments))
}
