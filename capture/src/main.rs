//! `kdump-capture`: the `/init` of a capture image, and of an initrd that loads one early.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use capture::{early, rehearsal, supervisor, worker};

fn main() -> ExitCode {
    // The kernel may have given process 1 any bytes.
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match (std::process::id(), arguments.first().map(String::as_str)) {
        (1, Some(rehearsal::CRASH)) => rehearsal::crash(),
        (1, _) if early::is_to_run() => early::run(),
        (1, _) => supervisor::run(),
        (_, Some(supervisor::WORKER)) => worker::run(arguments.get(1).map(String::as_str)),
        (_, _) => {
            eprintln!(
                "kdump-capture is the /init of a capture image and runs as process 1 after a \
                 crash; `kdump mkinitrd` builds such an image"
            );
            ExitCode::from(2)
        }
    }
}
