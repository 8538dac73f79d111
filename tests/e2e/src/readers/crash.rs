//! crash(8): the tool that dumps are made for.

use std::path::Path;
use std::process::Command;

use super::{Error, with_input};

/// What crash prints for `commands` about `dump`; `kernel` has debug information.
pub fn ask(kernel: &Path, dump: &Path, commands: &[&str]) -> Result<String, Error> {
    let mut crash = Command::new("crash");
    crash.arg("-s").arg(kernel).arg(dump);
    // Otherwise it looks for a terminal to fill.
    let input = format!("set scroll off\n{}\nquit\n", commands.join("\n"));
    with_input(&mut crash, &input)
}
