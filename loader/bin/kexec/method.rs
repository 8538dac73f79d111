//! Which system call loads.

use purgatorio::{
    machine::{
        MachineError, Sysroot,
        policy::{self, Lockdown},
    },
    sys::{SysError, refusal::Situation},
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
/// `hands_over`: it is a load for which this kernel keeps memory that only kexec_file_load hands over.
pub fn choose(
    wanted: Method,
    hands_over: bool,
    machine: &Sysroot,
    report: &Report,
) -> Result<LoadCall, MachineError> {
    if wanted == Method::KexecFileLoad {
        return Ok(LoadCall::KexecFileLoad);
    }
    if wanted == Method::KexecLoad {
        if hands_over {
            report.warning(
                "kho=on: what this kernel keeps for the next one is lost with kexec_load; \
                 use -s (kexec_file_load) to hand it over",
            );
        }
        return Ok(LoadCall::KexecLoad);
    }
    let lockdown = policy::lockdown(machine)?;
    let reason = if lockdown.is_some_and(Lockdown::forbids_kexec_load) {
        "kernel lockdown forbids kexec_load"
    } else if hands_over {
        "kho=on: only that hands over what this kernel keeps for the next one"
    } else {
        return Ok(LoadCall::KexecLoad);
    };
    report.decision(format_args!("using kexec_file_load: {reason}"));
    Ok(LoadCall::KexecFileLoad)
}

/// Whether kexec_load failed in a way that leaves kexec_file_load as the only one to try, and
/// why. EPERM without a lockdown has a cause that both calls share.
pub fn only_file_load_remains(error: &SysError, situation: &Situation) -> Option<&'static str> {
    match error {
        SysError::Refused { errno: Errno::PERM, .. } if situation.may_be_locked_down() => {
            Some("kexec_load is forbidden, and whether by kernel lockdown cannot be seen")
        }
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
        let seen = Situation {
            cap_sys_boot: Some(true),
            lockdown: Some(Lockdown::None),
            ..Situation::default()
        };
        let remains = |errno| only_file_load_remains(&refused(errno), &seen);
        assert!(remains(Errno::NOSYS).is_some());
        assert!(remains(Errno::ACCESS).is_some());
        for errno in [Errno::PERM, Errno::ADDRNOTAVAIL, Errno::INVAL, Errno::NOMEM, Errno::BUSY] {
            assert_eq!(remains(errno), None, "{errno}");
        }
        let unseen = Situation { lockdown: None, ..seen };
        assert!(only_file_load_remains(&refused(Errno::PERM), &unseen).is_some());
    }

    #[test]
    fn lockdown_decides_only_when_nothing_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let securityfs = directory.path().join("sys/kernel/security");
        std::fs::create_dir_all(&securityfs).unwrap();
        let machine = Sysroot::at(directory.path());
        let report = Report::new(false);
        let choose = |wanted| choose(wanted, false, &machine, &report).unwrap();

        assert_eq!(choose(Method::Auto), LoadCall::KexecLoad);
        std::fs::write(securityfs.join("lockdown"), "none [integrity] confidentiality\n").unwrap();
        assert_eq!(choose(Method::Auto), LoadCall::KexecFileLoad);
        assert_eq!(choose(Method::KexecLoad), LoadCall::KexecLoad);
        std::fs::write(securityfs.join("lockdown"), "[none] integrity confidentiality\n").unwrap();
        assert_eq!(choose(Method::Auto), LoadCall::KexecLoad);
        assert_eq!(choose(Method::KexecFileLoad), LoadCall::KexecFileLoad);
    }

    #[test]
    fn memory_for_the_next_kernel_is_handed_over() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Sysroot::at(directory.path());
        let report = Report::new(false);
        let choose = |wanted| choose(wanted, true, &machine, &report).unwrap();
        assert_eq!(choose(Method::Auto), LoadCall::KexecFileLoad);
        assert_eq!(choose(Method::KexecLoad), LoadCall::KexecLoad);
    }
}
