//! `-e`, `-f` and the shutdown that a plain `kexec KERNEL` ends in: leaving the running system.

use std::{
    convert::Infallible,
    io,
    process::{Command, ExitStatus},
};

use purgatorio::{
    machine::{MachineError, Sysroot, status},
    plan::Target,
    sys::{self, network, refusal::Situation},
};

use crate::{refused::Refused, report::Report, request::Departure};

/// The running system could not be left.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Nothing was touched.
    #[error("no kernel is loaded")]
    NothingLoaded,
    /// Whether one is loaded cannot be read; nothing was touched.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The kernel did not jump.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// shutdown(8) is missing or not executable.
    #[error("shutdown could not be run; the kernel stays loaded")]
    NoShutdown(#[source] io::Error),
    /// shutdown(8) does not want to.
    #[error("shutdown -r now failed ({0}); the kernel stays loaded")]
    Shutdown(ExitStatus),
}

/// Starts the kernel that is loaded. Looks whether there is one before it touches anything.
pub fn execute(departure: Departure, report: &Report) -> Result<Infallible, ExecuteError> {
    // A running kernel without the file has no kexec: nothing can be loaded then.
    if status::loaded(&Sysroot::live(), Target::Reboot)? != Some(true) {
        return Err(ExecuteError::NothingLoaded);
    }
    if departure.sync {
        report.decision("writing the file systems' buffers to disk");
        sys::sync();
    }
    if departure.ifdown {
        report.decision("taking the network interfaces down");
        take_network_down(report);
    }
    report.decision("starting the loaded kernel");
    let situation = Situation::read(&Sysroot::live(), Target::Reboot);
    Err(Refused::new(sys::reboot_kexec(), Target::Reboot, situation).into())
}

/// Lets the system shut down in its own way, which ends in the loaded kernel.
pub fn shut_down(report: &Report) -> Result<(), ExecuteError> {
    report.decision("running shutdown -r now");
    let status =
        Command::new("shutdown").args(["-r", "now"]).status().map_err(ExecuteError::NoShutdown)?;
    if status.success() { Ok(()) } else { Err(ExecuteError::Shutdown(status)) }
}

/// An interface that stays up is no reason to stay.
fn take_network_down(report: &Report) {
    match network::take_down() {
        Ok(still_up) => {
            for error in &still_up {
                report.warning_of(error);
            }
        }
        Err(error) => report.warning_of(&error),
    }
}
