//! `kdump-capture`: the `/init` of a capture image.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use capture::{supervisor, worker};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    match (std::process::id(), argument.as_deref()) {
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
