//! `kdump-capture`: the `/init` of a capture image, and of an initrd that loads one early.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::process::ExitCode;

use capture::{early, supervisor, worker};

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    match (std::process::id(), argument.as_deref().and_then(OsStr::to_str)) {
        (1, _) if early::is_to_run() => early::run(),
        (1, _) => supervisor::run(),
        (_, Some(supervisor::WORKER)) => worker::run(),
        (_, _) => {
            eprintln!(
                "kdump-capture is the /init of a capture image and runs as process 1 after a \
                 crash; `kdump mkinitrd` builds such an image"
            );
            ExitCode::from(2)
        }
    }
}
