//! `-u`

use purgatorio::{
    machine::{MachineError, Sysroot},
    plan::Target,
    sys,
};

use crate::{
    method::{self, LoadCall},
    refused::Refused,
    report::Report,
    request::Method,
};

/// The kernel was not unloaded.
#[derive(Debug, thiserror::Error)]
pub enum UnloadError {
    /// What the kernel says of kexec is not understood.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The running kernel refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl UnloadError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Machine(_) => None,
            Self::Refused(refused) => refused.hint(),
        }
    }
}

/// Unloads the kernel for `target`. That none was loaded is no error.
pub fn unload(target: Target, wanted: Method, report: &Report) -> Result<(), UnloadError> {
    let machine = Sysroot::live();
    let result = match method::choose(wanted, &machine, report)? {
        LoadCall::KexecFileLoad => sys::kexec_file_unload(target),
        LoadCall::KexecLoad => match sys::kexec_unload(target) {
            Err(error) if wanted == Method::Auto => match method::only_file_load_remains(&error) {
                Some(reason) => {
                    report.decision(format_args!("using kexec_file_load: {reason}"));
                    sys::kexec_file_unload(target)
                }
                None => Err(error),
            },
            result => result,
        },
    };
    Ok(result.map_err(|error| Refused::new(error, target, &machine))?)
}
