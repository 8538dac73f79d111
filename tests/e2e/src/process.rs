//! Runs programs of the host and says clearly what went wrong.

use std::io;
use std::process::{Command, Stdio};

/// A program that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed ({status}):\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that it wrote to stderr.
        output: String,
    },
}

/// Runs `command` to its end and returns what it wrote to stdout.
pub fn output(command: &mut Command) -> Result<String, Error> {
    output_from(command, Stdio::null())
}

/// The same, with `input` as its standard input.
pub fn output_from(command: &mut Command, input: impl Into<Stdio>) -> Result<String, Error> {
    let output = command
        .stdin(input)
        .output()
        .map_err(|source| Error::Start { command: show(command), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed {
        command: show(command),
        status: output.status,
        output: last_lines(&String::from_utf8_lossy(&output.stderr), 20),
    })
}

/// Runs `command` with its output on our own terminal.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Start { command: show(command), source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: show(command), status, output: "see its output above".into() })
}

/// As [`output`], up to `tries` times: for downloads.
pub fn retry(tries: u32, mut command: impl FnMut() -> Command) -> Result<String, Error> {
    let mut tried = 1;
    loop {
        match output(&mut command()) {
            Err(Error::Failed { .. }) if tried < tries => {
                std::thread::sleep(std::time::Duration::from_secs(u64::from(tried) * 2));
                tried += 1;
            }
            result => return result,
        }
    }
}

/// The command line as a person would type it.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
