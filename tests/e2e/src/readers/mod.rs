//! Readers of dumps that we did not write: what they say of one.
//!
//! They come from Debian: libkdumpfile and drgn by their Python modules, crash, makedumpfile.

pub mod crash;
pub mod drgn;
pub mod pages;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process;

/// Debian's Python, for which its modules are: another one in the search path has others.
const PYTHON: &str = "/usr/bin/python3";

/// A reader that could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run, or failed.
    #[error(transparent)]
    Run(#[from] process::Error),
    /// It could not be told what to do.
    #[error("{program}: cannot be given its input")]
    Input {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Its answer cannot be understood.
    #[error("{script}: no answer that can be understood")]
    Answer {
        /// The script.
        script: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file could not be written.
    #[error("{path}: cannot write")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs a Python script with these arguments and this input; returns what it printed.
fn python(script: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let mut command = Command::new(PYTHON);
    command.arg("-c").arg(script).args(arguments);
    with_input(&mut command, input)
}

/// Runs `command` with this input; returns what it printed.
fn with_input(command: &mut Command, input: &str) -> Result<String, Error> {
    // The name is enough: the arguments may have a whole script among them.
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Input { program: program.clone(), source };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Run(process::Error::Failed {
        command: program,
        status: output.status,
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    }))
}
