//! `-u`

use purgatorio::{
    machine::{MachineError, Sysroot},
    plan::Target,
    sys::{self, refusal::Situation},
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
    let situation = Situation::read(&machine, target);
    let explained = |error| Refused::new(error, target, situation);
    let by_file_load = || sys::kexec_file_unload(target).map_err(explained);
    Ok(match method::choose(wanted, false, &machine, report)? {
        LoadCall::KexecFileLoad => by_file_load(),
        LoadCall::KexecLoad => match sys::kexec_unload(target).map_err(explained) {
            Err(refused) if wanted == Method::Auto => {
                let (error, situation) = refused.parts();
                match method::only_file_load_remains(error, situation) {
                    Some(reason) => {
                        report.decision(format_args!("using kexec_file_load: {reason}"));
                        by_file_load()
                    }
                    None => Err(refused),
                }
            }
            result => result,
        },
    }?)
}
