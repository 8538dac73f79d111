//! Everything that can end `kexec`, what the user can do about it, and the exit status, which
//! scripts know from kexec-tools.

use std::{io::Write, process::ExitCode};

use purgatorio::{machine::MachineError, plan::PlanError};

use crate::{execute::ExecuteError, load::LoadError, request::RequestError, unload::UnloadError};

/// Why `kexec` ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options do not make a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The kernel was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel was not unloaded.
    #[error(transparent)]
    Unload(#[from] UnloadError),
    /// The loaded kernel was not started.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// What the kernel says of kexec is not understood.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Usage error, or the running system could not be left.
const FATAL: u8 = 1;
/// kexec_file_load was asked for and this kernel does not have it.
const NO_FILE_LOAD: u8 = 253;
/// No memory is reserved for a crash kernel.
const NO_CRASH_REGION: u8 = 254;
/// The kernel was not loaded, or not unloaded.
const NOT_DONE: u8 = 255;

impl Error {
    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Load(LoadError::NoCrashRegion | LoadError::Plan(PlanError::NoCrashMemory)) => {
                NO_CRASH_REGION
            }
            Self::Load(LoadError::Refused(refused))
            | Self::Unload(UnloadError::Refused(refused))
                if refused.is_file_load_missing() =>
            {
                NO_FILE_LOAD
            }
            Self::Request(RequestError::NoKernel)
            | Self::Load(_)
            | Self::Unload(_)
            | Self::Machine(_) => NOT_DONE,
            Self::Request(_) | Self::Execute(_) => FATAL,
        })
    }

    /// What the user can do, where the message does not say it yet.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request(RequestError::NoKernel) => Some("see kexec --help".to_owned()),
            Self::Execute(ExecuteError::NothingLoaded) => {
                Some("load one first: kexec -l KERNEL".to_owned())
            }
            Self::Load(error) => error.hint(),
            Self::Unload(error) => error.hint(),
            Self::Request(_) | Self::Execute(_) | Self::Machine(_) => None,
        }
    }
}

/// Prints what clap has to say: help and version on standard output, a usage error in the form of
/// all our errors.
pub fn print_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody may be left to read it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let _ = write!(std::io::stderr(), "kexec: {text}");
    ExitCode::from(FATAL)
}
