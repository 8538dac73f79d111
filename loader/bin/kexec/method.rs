//! Which system call loads.

use purgatorio::{
    machine::{
        MachineError, Sysroot,
        policy::{self, Lockdown},
    },
    sys::SysError,
};
use rustix::io::Errno;

use crate::{report::Report, request::Method};

/// A system call that loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadCall {
    /// kexec_load: our plan, our purgatory.
    KexecLoad,
    /// kexec_file_load: the running kernel's.
    KexecFileLoad,
}

/// The call to use first. kexec_load is preferred, because our purgatory runs only there.
pub fn choose(
    wanted: Method,
    machine: &Sysroot,
    report: &Report,
) -> Result<LoadCall, MachineError> {
    let locked_down = match wanted {
        Method::KexecLoad => return Ok(LoadCall::KexecLoad),
        Method::KexecFileLoad => return Ok(LoadCall::KexecFileLoad),
        Method::Auto => match policy::lockdown(machine)? {
            Some(Lockdown::Integrity | Lockdown::Confidentiality) => true,
            Some(Lockdown::None) | None => false,
        },
    };
    Ok(if locked_down {
        report.decision("using kexec_file_load: kernel lockdown forbids kexec_load");
        LoadCall::KexecFileLoad
    } else {
        LoadCall::KexecLoad
    })
}

/// Whether kexec_load failed in a way that leaves kexec_file_load as the only one to try, and
/// why. EPERM is not among them: without a lockdown it has a cause that both calls share.
pub fn only_file_load_remains(error: &SysError) -> Option<&'static str> {
    match error {
        SysError::Refused { errno: Errno::NOSYS, .. } => {
            Some("this kernel is built without kexec_load")
        }
        SysError::Refused { errno: Errno::ACCESS, .. } => {
            Some("a security policy accepts only files that it can check")
        }
        SysError::Refused { .. } | SysError::TooManySegments { .. } | SysError::TooWide { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purgatorio::sys::Call;

    fn refused(errno: Errno) -> SysError {
        SysError::Refused { call: Call::KexecLoad, errno }
    }

    #[test]
    fn only_a_missing_call_or_a_policy_asks_for_file_load() {
        assert!(only_file_load_remains(&refused(Errno::NOSYS)).is_some());
        assert!(only_file_load_remains(&refused(Errno::ACCESS)).is_some());
        for errno in [Errno::PERM, Errno::ADDRNOTAVAIL, Errno::INVAL, Errno::NOMEM, Errno::BUSY] {
            assert_eq!(only_file_load_remains(&refused(errno)), None, "{errno}");
        }
    }

    #[test]
    fn lockdown_decides_only_when_nothing_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let securityfs = directory.path().join("sys/kernel/security");
        std::fs::create_dir_all(&securityfs).unwrap();
        let machine = Sysroot::at(directory.path());
        let report = Report::new(false);
        let choose = |wanted| choose(wanted, &machine, &report).unwrap();

        assert_eq!(choose(Method::Auto), LoadCall::KexecLoad);
        std::fs::write(securityfs.join("lockdown"), "none [integrity] confidentiality\n").unwrap();
        assert_eq!(choose(Method::Auto), LoadCall::KexecFileLoad);
        assert_eq!(choose(Method::KexecLoad), LoadCall::KexecLoad);
        std::fs::write(securityfs.join("lockdown"), "[none] integrity confidentiality\n").unwrap();
        assert_eq!(choose(Method::Auto), LoadCall::KexecLoad);
        assert_eq!(choose(Method::KexecFileLoad), LoadCall::KexecFileLoad);
    }
}
