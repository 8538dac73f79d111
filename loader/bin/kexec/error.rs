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

/// Usage error, or nothing is loaded that could be started.
const FATAL: u8 = 1;
/// kexec_file_load was asked for and this kernel does not have it.
const NO_FILE_LOAD: u8 = 253;
/// No memory is reserved for a crash kernel.
const NO_CRASH_REGION: u8 = 254;
/// The kernel was not loaded, unloaded or started.
const NOT_DONE: u8 = 255;

impl Error {
    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
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
            | Self::Execute(ExecuteError::Refused(_))
            | Self::Machine(_) => NOT_DONE,
            Self::Request(_) | Self::Execute(_) => FATAL,
        }
    }

    /// What the user can do, where the message does not say it yet.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request(RequestError::NoKernel) => Some("see kexec --help".to_owned()),
            Self::Execute(ExecuteError::NothingLoaded) => {
                Some("load one first: kexec -l KERNEL".to_owned())
            }
            Self::Execute(ExecuteError::Refused(refused)) => refused.hint(),
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

#[cfg(test)]
mod tests {
    use purgatorio::{
        plan::Target,
        sys::{Call, SysError, refusal::Situation},
    };
    use rustix::io::Errno;

    use super::*;
    use crate::refused::Refused;

    fn refused(call: Call, errno: Errno) -> Refused {
        Refused::new(SysError::Refused { call, errno }, Target::Crash, Situation::default())
    }

    #[test]
    fn the_exit_status_is_the_one_that_scripts_know() {
        let missing = || refused(Call::KexecFileLoad, Errno::NOSYS);
        let forbidden = || refused(Call::KexecLoad, Errno::PERM);
        let cases: &[(Error, u8)] = &[
            (RequestError::ExecDoesNotLoad.into(), 1),
            (RequestError::NoKernel.into(), 255),
            (ExecuteError::NothingLoaded.into(), 1),
            (ExecuteError::Refused(refused(Call::Reboot, Errno::INVAL)).into(), 255),
            (LoadError::NoCrashRegion.into(), 254),
            (LoadError::Plan(PlanError::NoCrashMemory).into(), 254),
            (LoadError::Plan(PlanError::EmptyInitrd).into(), 255),
            (LoadError::Refused(missing()).into(), 253),
            (LoadError::Refused(forbidden()).into(), 255),
            (LoadError::Refused(refused(Call::KexecLoad, Errno::NOSYS)).into(), 255),
            (UnloadError::Refused(missing()).into(), 253),
            (UnloadError::Refused(forbidden()).into(), 255),
        ];
        for (error, status) in cases {
            assert_eq!(error.status(), *status, "{error}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_explained() {
        let error = Error::from(LoadError::Refused(refused(Call::KexecFileLoad, Errno::NOKEY)));
        assert!(error.to_string().contains("ENOKEY"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("mokutil")), "{:?}", error.hint());
    }
}
