//! `-e`, `-f` and the shutdown that a plain `kexec KERNEL` ends in: leaving the running system.

use std::{
    convert::Infallible,
    fs, io,
    path::Path,
    process::{Command, ExitStatus},
};

use purgatorio::{machine::{self, Sysroot}, plan::Target, sys};

use crate::{report::Report, request::Departure};

/// Where the kernel lists the network interfaces (kernel 6.1
/// Documentation/ABI/testing/sysfs-class-net).
const INTERFACES: &str = "/sys/class/net";
/// `IFF_UP` and `IFF_LOOPBACK` of an interface's flags (netdevice(7)).
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;

/// The running system could not be left.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Nothing was touched.
    #[error("no kernel is loaded")]
    NothingLoaded,
    /// The kernel did not jump.
    #[error("the loaded kernel could not be started")]
    Reboot(#[source] sys::SysError),
    /// shutdown(8) is missing or not executable.
    #[error("shutdown could not be run; the kernel stays loaded")]
    NoShutdown(#[source] io::Error),
    /// shutdown(8) does not want to.
    #[error("shutdown -r now failed ({0}); the kernel stays loaded")]
    Shutdown(ExitStatus),
}

/// Starts the kernel that is loaded. Looks whether there is one before it touches anything.
pub fn execute(departure: Departure, report: &Report) -> Result<Infallible, ExecuteError> {
    // A kernel without the file has no kexec: nothing can be loaded then.
    if machine::loaded(&Sysroot::live(), Target::Reboot) != Some(true) {
        return Err(ExecuteError::NothingLoaded);
    }
    if departure.sync {
        report.decision("writing the file systems' buffers to disk");
        rustix::fs::sync();
    }
    if departure.ifdown {
        bring_interfaces_down(report);
    }
    report.decision("starting the loaded kernel");
    Err(ExecuteError::Reboot(sys::reboot_kexec()))
}

/// Lets the system shut down in its own way, which ends in the loaded kernel.
pub fn shut_down(report: &Report) -> Result<(), ExecuteError> {
    report.decision("running shutdown -r now");
    let status =
        Command::new("shutdown").args(["-r", "now"]).status().map_err(ExecuteError::NoShutdown)?;
    if status.success() { Ok(()) } else { Err(ExecuteError::Shutdown(status)) }
}

/// Takes every interface but loopback down, so that no card writes into memory that the next
/// kernel has for something else. One that refuses is no reason to stay.
fn bring_interfaces_down(report: &Report) {
    let interfaces = match fs::read_dir(INTERFACES) {
        Ok(interfaces) => interfaces,
        Err(error) => return report.warning(format_args!("{INTERFACES}: {error}")),
    };
    for interface in interfaces.flatten() {
        let path = interface.path().join("flags");
        if let Err(error) = bring_down(&path, report) {
            report.warning(format_args!("{}: {error}", path.display()));
        }
    }
}

fn bring_down(flags_file: &Path, report: &Report) -> io::Result<()> {
    let text = fs::read_to_string(flags_file)?;
    let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16)
        .map_err(io::Error::other)?;
    if flags & IFF_UP == 0 || flags & IFF_LOOPBACK != 0 {
        return Ok(());
    }
    report.decision(format_args!("taking {} down", flags_file.display()));
    fs::write(flags_file, format!("{:#x}", flags & !IFF_UP))
}
