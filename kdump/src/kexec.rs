//! Runs `kexec(8)`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use capture::capture_command_line::with_loader;
use purgatorio::machine::status;

use crate::loaded::Loaded;
use crate::machine::Machine;

/// Exit status of `kexec` when no memory is reserved.
const NOT_RESERVED: i32 = 254;

/// `kexec` did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be started.
    #[error(
        "cannot run {}: install it beside kdump or in PATH, or name it with --kexec",
        program.display()
    )]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It says that there is no room for a capture kernel.
    #[error(
        "no memory is reserved for a capture kernel: add crashkernel= to this kernel's command line \
         and reboot; kdump estimate says how much"
    )]
    NotReserved,
    /// It failed.
    #[error("{} failed ({status}): {said}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        said: String,
    },
}

/// The loader.
#[derive(Clone, Debug)]
pub struct Kexec {
    program: PathBuf,
}

impl Kexec {
    /// The program that is given, the one beside this program, or the one in PATH.
    pub fn find(given: Option<&Path>) -> Self {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("kexec"));
        let program = match given {
            Some(program) => program.to_owned(),
            None => beside().filter(|path| path.is_file()).unwrap_or_else(|| "kexec".into()),
        };
        Self { program }
    }

    /// The arguments that load `wanted` on `machine`. The capture kernel is told what loads it.
    pub fn load_arguments(&self, machine: &Machine, wanted: &Loaded) -> Vec<String> {
        let kernel = machine.of_absolute(&wanted.kernel.path);
        let image = machine.of_absolute(&wanted.image.path);
        // What cannot be read is no reason not to load.
        let updates = status::crash_elfcorehdr_size(&machine.sysroot()).ok().flatten().is_some();
        let mut options: Vec<String> =
            updates.then(|| "--hotplug".to_owned()).into_iter().collect();
        options.extend(wanted.kexec_options.iter().cloned());
        let command_line = with_loader(&wanted.command_line, &self.program);
        Self::arguments(&kernel, &image, &command_line, &options)
    }

    /// The arguments that load `kernel` as capture kernel, with more options at the end.
    pub fn arguments(
        kernel: &Path,
        image: &Path,
        command_line: &str,
        options: &[String],
    ) -> Vec<String> {
        let mut arguments = vec!["-p".to_owned(), kernel.display().to_string()];
        arguments.push(format!("--initrd={}", image.display()));
        arguments.push(format!("--command-line={command_line}"));
        arguments.extend_from_slice(options);
        arguments
    }

    /// Its file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it; what it printed is returned.
    pub fn run(&self, arguments: &[String]) -> Result<String, Error> {
        let output = Command::new(&self.program).args(arguments).output();
        let program = || self.program.clone();
        let output = output.map_err(|source| Error::Start { program: program(), source })?;
        let said = said(&output);
        if output.status.success() {
            Ok(said)
        } else if output.status.code() == Some(NOT_RESERVED) {
            Err(Error::NotReserved)
        } else {
            Err(Error::Failed { program: program(), status: output.status, said })
        }
    }
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    texts.map(|text| text.trim().to_owned()).join("\n").trim().to_owned()
}
