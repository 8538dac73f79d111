//! `-S` and `--print-ckr-size`: what the kernel says of kexec.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use purgatorio::{
    machine::{MachineError, Sysroot, status},
    plan::Target,
};

/// Exit statuses of `-S`.
const LOADED: u8 = 1;
const NOT_LOADED: u8 = 0;
const UNKNOWN: u8 = 255;

/// Answers by the exit status alone.
pub fn status(target: Target, sysroot: &Sysroot) -> Result<ExitCode, MachineError> {
    let loaded = status::loaded(sysroot, target)?;
    Ok(ExitCode::from(match loaded {
        Some(true) => LOADED,
        Some(false) => NOT_LOADED,
        None => UNKNOWN,
    }))
}

/// Prints the bytes that are reserved for a crash kernel, 0 without a reservation.
pub fn print_crash_size(sysroot: &Sysroot) -> Result<(), MachineError> {
    let size = status::crash_size(sysroot)?.unwrap_or(0);
    // A reader that went away does not want the number any more.
    let _ = writeln!(io::stdout(), "{size}");
    Ok(())
}
