//! Why the kernel refused, and what to do: an errno of a kexec call together with the state of
//! the machine (kernel 6.1 kernel/kexec.c, kernel/kexec_file.c, kernel/kexec_core.c).
#![forbid(unsafe_code)]

use core::fmt;
use std::borrow::Cow;

use rustix::io::Errno;

use super::Call;
use crate::{
    machine::{
        Sysroot,
        policy::{self, Lockdown},
        status,
    },
    plan::Target,
};

/// What may make the kernel refuse. `None`: not known, or the kernel has no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// This process has CAP_SYS_BOOT.
    pub cap_sys_boot: Option<bool>,
    /// Sysctl kernel.kexec_load_disabled.
    pub load_disabled: Option<bool>,
    /// Sysctl kernel.kexec_load_limit_*: loads left, -1 for any number.
    pub load_limit: Option<i32>,
    /// Lockdown level.
    pub lockdown: Option<Lockdown>,
    /// Secure Boot is enforced.
    pub secure_boot: Option<bool>,
    /// Bytes reserved by `crashkernel=`.
    pub crash_size: Option<u64>,
    /// A kernel is loaded for the target.
    pub loaded: Option<bool>,
}

impl Situation {
    /// Reads it. What cannot be read stays unknown: this explains one error and must not be
    /// hidden by another.
    pub fn read(root: &Sysroot, target: Target) -> Self {
        Self {
            cap_sys_boot: policy::has_cap_sys_boot(root).ok().flatten(),
            load_disabled: policy::kexec_load_disabled(root).ok().flatten(),
            load_limit: policy::load_limit(root, target).ok().flatten(),
            lockdown: policy::lockdown(root).ok().flatten(),
            secure_boot: policy::secure_boot(root).ok().flatten(),
            crash_size: status::crash_size(root).ok().flatten(),
            loaded: status::loaded(root, target).ok().flatten(),
        }
    }

    /// Whether lockdown may be what forbids kexec_load: it cannot be seen, because securityfs is
    /// not mounted (as in an initramfs), and nothing else is known to forbid a load.
    pub fn may_be_locked_down(&self) -> bool {
        self.lockdown.is_none()
            && self.cap_sys_boot == Some(true)
            && self.load_disabled != Some(true)
            && self.load_limit != Some(0)
    }
}

/// An explanation for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Why, as a clause without a full stop.
    pub cause: &'static str,
    /// What to do, likewise.
    pub remedy: &'static str,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

/// Explains `errno` of `call` for `target` in `situation`.
pub fn explain(call: Call, target: Target, errno: Errno, situation: &Situation) -> Explanation {
    let (cause, remedy) = match errno {
        Errno::PERM => forbidden(call, target, situation),
        Errno::ACCESS => not_accepted(call, situation),
        Errno::ADDRNOTAVAIL => unavailable(call, target, situation),
        Errno::BUSY => (
            "another process is loading or unloading a kernel, or the system is going down",
            "try again",
        ),
        Errno::INVAL => invalid(call, situation),
        Errno::NOMEM => no_memory(target),
        Errno::NOSYS => no_such_call(call),
        Errno::NOEXEC => unknown_format(situation),
        Errno::TXTBSY => ("a file is open for writing", "finish writing it first"),
        Errno::FBIG => ("a file is larger than the kernel reads", "use a smaller initrd, or -c"),
        Errno::NODATA => (
            if locked_down(situation) {
                "the kernel file is not signed, and kernel lockdown enforces a signature"
            } else {
                "the kernel file is not signed, and a signature is enforced"
            },
            "use a signed kernel",
        ),
        Errno::NOKEY => (
            "the kernel file is signed with a key that the running kernel does not trust",
            "enrol the key (mokutil --import) or use the distribution's kernel",
        ),
        Errno::KEYREJECTED => (
            "the kernel file's signature is wrong, or its key is revoked",
            "install the kernel anew",
        ),
        Errno::NOPKG => (
            "the kernel file's signature uses an algorithm that the running kernel lacks",
            "load the module of that algorithm, or use another kernel",
        ),
        Errno::BADMSG | Errno::LIBBAD => {
            ("the kernel file's signature or its PE header is damaged", "install the kernel anew")
        }
        _ => ("the kernel gives no further reason", "see its log (dmesg)"),
    };
    Explanation { cause, remedy }
}

type CauseAndRemedy = (&'static str, &'static str);

fn forbidden(call: Call, target: Target, situation: &Situation) -> CauseAndRemedy {
    if situation.cap_sys_boot == Some(false) {
        return ("this process lacks CAP_SYS_BOOT", "run it as root, outside of containers");
    }
    if call != Call::Reboot && situation.load_disabled == Some(true) {
        return (
            "the sysctl kernel.kexec_load_disabled is set, and stays so until a reboot",
            "reboot, and load before something sets it",
        );
    }
    if call != Call::Reboot && situation.load_limit == Some(0) {
        return match target {
            Target::Reboot => (
                "the sysctl kernel.kexec_load_limit_reboot is used up, until a reboot",
                "reboot, and raise the limit where it is set",
            ),
            Target::Crash => (
                "the sysctl kernel.kexec_load_limit_panic is used up, until a reboot",
                "reboot, and raise the limit where it is set",
            ),
        };
    }
    match (locked_down(situation), call) {
        (true, Call::KexecLoad) => lockdown_forbids_kexec_load(situation),
        (true, Call::KexecFileLoad) => (
            "under kernel lockdown only a kernel file signed by a trusted key is accepted",
            "use a signed kernel, or enrol its key (mokutil --import)",
        ),
        // Where securityfs is not mounted, as in an initramfs, lockdown cannot be seen.
        (false, Call::KexecLoad) if situation.lockdown.is_none() => (
            "kernel lockdown, a security module or a seccomp filter forbids it",
            "try -s (kexec_file_load); see the kernel log (dmesg) and the audit log",
        ),
        (false, Call::KexecFileLoad) if situation.lockdown.is_none() => (
            "kernel lockdown, which accepts only a kernel file signed by a trusted key, a security \
             module or a seccomp filter forbids it",
            "use a signed kernel; see the kernel log (dmesg) and the audit log",
        ),
        (false, _) | (true, Call::Reboot) => (
            "a security module or a seccomp filter forbids it",
            "see the kernel log (dmesg) and the audit log",
        ),
    }
}

fn lockdown_forbids_kexec_load(situation: &Situation) -> CauseAndRemedy {
    let cause = match situation.secure_boot {
        Some(true) => "lockdown, on because of Secure Boot, forbids kexec_load",
        Some(false) | None => "kernel lockdown forbids kexec_load",
    };
    (cause, "use -s (kexec_file_load), and a signed kernel to load")
}

/// EACCES. Under Secure Boot IMA's own policy speaks before lockdown does (kernel 6.12
/// security/integrity/ima/ima_main.c, `ima_load_data`).
fn not_accepted(call: Call, situation: &Situation) -> CauseAndRemedy {
    match call {
        Call::KexecLoad if locked_down(situation) => lockdown_forbids_kexec_load(situation),
        Call::KexecLoad => (
            "a security module (IMA, SELinux) accepts only a kernel whose file it can check",
            "use -s (kexec_file_load), and a signed kernel to load",
        ),
        Call::KexecFileLoad | Call::Reboot => (
            "a security module (IMA, SELinux) does not accept the file",
            "see the audit log for its rule",
        ),
    }
}

fn locked_down(situation: &Situation) -> bool {
    situation.lockdown.is_some_and(Lockdown::forbids_kexec_load)
}

fn unavailable(call: Call, target: Target, situation: &Situation) -> CauseAndRemedy {
    match (target, call) {
        (Target::Crash, _) if situation.crash_size == Some(0) => (
            "no memory is reserved for a crash kernel",
            "add crashkernel=256M to the kernel's command line and reboot",
        ),
        (Target::Crash, Call::KexecFileLoad) => (
            "kernel and initrd do not fit into the memory reserved for the crash kernel",
            "reserve more with crashkernel=, or use a smaller initrd",
        ),
        (Target::Crash, Call::KexecLoad | Call::Reboot) => (
            "a segment is outside the memory reserved for the crash kernel",
            "show the plan with --dry-run; the reservation may have been shrunk since it was made",
        ),
        (Target::Reboot, _) => (
            "a segment is at an address that kexec cannot use",
            "show the plan with --dry-run; limit it with --mem-max",
        ),
    }
}

fn invalid(call: Call, situation: &Situation) -> CauseAndRemedy {
    match call {
        Call::Reboot if situation.loaded == Some(true) => {
            ("the kernel does not start what is loaded", "see its log (dmesg)")
        }
        Call::Reboot => ("no kernel is loaded", "load one first (-l)"),
        Call::KexecLoad => (
            "segments overlap or take more than half of the memory, or this kernel does not know \
             an option such as --hotplug",
            "show the plan with --dry-run, or leave the option out",
        ),
        Call::KexecFileLoad => (
            "the kernel cannot load this file, initrd or command line this way",
            "use -c; its messages say more",
        ),
    }
}

fn unknown_format(situation: &Situation) -> CauseAndRemedy {
    let cause = "the running kernel does not know the format of the kernel file";
    // The other call reads more formats, unless lockdown forbids it.
    let remedy = if locked_down(situation) { "use a bzImage (vmlinuz)" } else { "use -c" };
    (cause, remedy)
}

fn no_memory(target: Target) -> CauseAndRemedy {
    match target {
        Target::Reboot => {
            ("there is not enough free memory", "stop programs, or shrink the initrd")
        }
        Target::Crash => (
            "the kernel finds no room for its own pages beside the segments",
            "reserve more with crashkernel=",
        ),
    }
}

fn no_such_call(call: Call) -> CauseAndRemedy {
    match call {
        Call::KexecLoad => ("this kernel is built without CONFIG_KEXEC", "use -s"),
        Call::KexecFileLoad => ("this kernel is built without CONFIG_KEXEC_FILE", "use -c"),
        Call::Reboot => ("this kernel is built without kexec", "use another kernel"),
    }
}

/// The errno's name, such as `EPERM`; its number for one that no kexec call is known to return.
pub fn errno_name(errno: Errno) -> Cow<'static, str> {
    Cow::Borrowed(match errno {
        Errno::ACCESS => "EACCES",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::BADF => "EBADF",
        Errno::BADMSG => "EBADMSG",
        Errno::BUSY => "EBUSY",
        Errno::FAULT => "EFAULT",
        Errno::FBIG => "EFBIG",
        Errno::INTR => "EINTR",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::KEYREJECTED => "EKEYREJECTED",
        Errno::LIBBAD => "ELIBBAD",
        Errno::LOOP => "ELOOP",
        Errno::NODATA => "ENODATA",
        Errno::NOENT => "ENOENT",
        Errno::NOEXEC => "ENOEXEC",
        Errno::NOKEY => "ENOKEY",
        Errno::NOMEM => "ENOMEM",
        Errno::NOPKG => "ENOPKG",
        Errno::NOSYS => "ENOSYS",
        Errno::OPNOTSUPP => "ENOTSUP",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::PERM => "EPERM",
        Errno::TXTBSY => "ETXTBSY",
        other => return Cow::Owned(format!("errno {}", other.raw_os_error())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// call, target, errno, situation, what the explanation must say
    type Case = (Call, Target, Errno, Situation, &'static str);

    #[test]
    fn each_cause_is_told_apart() {
        use Call::{KexecFileLoad, KexecLoad, Reboot};
        let open = Situation {
            cap_sys_boot: Some(true),
            load_disabled: Some(false),
            load_limit: Some(-1),
            lockdown: Some(Lockdown::None),
            secure_boot: Some(false),
            crash_size: Some(256 << 20),
            loaded: Some(false),
        };
        let locked = Situation { lockdown: Some(Lockdown::Integrity), ..open };
        let unprivileged = Situation { cap_sys_boot: Some(false), ..locked };
        let disabled = Situation { load_disabled: Some(true), ..open };
        let used_up = Situation { load_limit: Some(0), ..open };
        let unreserved = Situation { crash_size: Some(0), ..open };
        let unknown = Situation::default();
        let cases: &[Case] = &[
            (KexecLoad, Target::Reboot, Errno::PERM, unprivileged, "CAP_SYS_BOOT"),
            (KexecLoad, Target::Reboot, Errno::PERM, disabled, "kernel.kexec_load_disabled"),
            (Reboot, Target::Reboot, Errno::PERM, disabled, "security module"),
            (KexecLoad, Target::Crash, Errno::PERM, used_up, "kexec_load_limit_panic"),
            (KexecLoad, Target::Reboot, Errno::PERM, used_up, "kexec_load_limit_reboot"),
            (KexecLoad, Target::Crash, Errno::PERM, locked, "use -s"),
            (
                KexecLoad,
                Target::Crash,
                Errno::PERM,
                Situation { secure_boot: Some(true), ..locked },
                "Secure Boot",
            ),
            (KexecLoad, Target::Crash, Errno::ACCESS, locked, "lockdown forbids kexec_load"),
            (KexecLoad, Target::Crash, Errno::ACCESS, open, "use -s"),
            (KexecFileLoad, Target::Crash, Errno::ACCESS, locked, "audit log"),
            (KexecFileLoad, Target::Crash, Errno::NODATA, locked, "lockdown enforces"),
            (KexecFileLoad, Target::Crash, Errno::PERM, locked, "signed by a trusted key"),
            (KexecFileLoad, Target::Crash, Errno::PERM, open, "security module"),
            (KexecFileLoad, Target::Crash, Errno::PERM, unknown, "signed by a trusted key"),
            (KexecLoad, Target::Crash, Errno::PERM, unknown, "try -s"),
            (KexecLoad, Target::Crash, Errno::PERM, open, "security module"),
            (KexecLoad, Target::Crash, Errno::ADDRNOTAVAIL, unreserved, "crashkernel=256M"),
            (KexecLoad, Target::Crash, Errno::ADDRNOTAVAIL, open, "outside the memory reserved"),
            (KexecFileLoad, Target::Crash, Errno::ADDRNOTAVAIL, open, "do not fit"),
            (KexecLoad, Target::Reboot, Errno::ADDRNOTAVAIL, unreserved, "--mem-max"),
            (KexecLoad, Target::Reboot, Errno::BUSY, open, "try again"),
            (KexecLoad, Target::Reboot, Errno::INVAL, open, "overlap"),
            (KexecFileLoad, Target::Reboot, Errno::INVAL, open, "use -c"),
            (Reboot, Target::Reboot, Errno::INVAL, open, "no kernel is loaded"),
            (KexecLoad, Target::Crash, Errno::NOMEM, open, "crashkernel="),
            (KexecLoad, Target::Reboot, Errno::NOMEM, open, "free memory"),
            (KexecFileLoad, Target::Reboot, Errno::NOEXEC, open, "use -c"),
            (KexecFileLoad, Target::Reboot, Errno::NOEXEC, locked, "use a bzImage"),
            (KexecFileLoad, Target::Reboot, Errno::NOSYS, open, "CONFIG_KEXEC_FILE"),
            (KexecFileLoad, Target::Reboot, Errno::KEYREJECTED, open, "signature is wrong"),
            (KexecFileLoad, Target::Reboot, Errno::NOKEY, open, "does not trust"),
            (KexecFileLoad, Target::Reboot, Errno::NODATA, open, "not signed"),
            (KexecFileLoad, Target::Reboot, Errno::LIBBAD, open, "PE header"),
            (KexecLoad, Target::Reboot, Errno::XDEV, open, "dmesg"),
        ];
        for (call, target, errno, situation, expected) in cases {
            let text = explain(*call, *target, *errno, situation).to_string();
            assert!(text.contains(expected), "{call} {target:?} {}: {text}", errno_name(*errno));
        }
    }

    #[test]
    fn lockdown_is_suspected_where_it_cannot_be_seen_and_nothing_else_forbids_a_load() {
        let unseen = Situation { cap_sys_boot: Some(true), ..Situation::default() };
        assert!(unseen.may_be_locked_down());
        let others = [
            Situation { lockdown: Some(Lockdown::None), ..unseen },
            Situation { cap_sys_boot: Some(false), ..unseen },
            Situation { load_disabled: Some(true), ..unseen },
            Situation { load_limit: Some(0), ..unseen },
        ];
        for situation in others {
            assert!(!situation.may_be_locked_down(), "{situation:?}");
        }
    }

    #[test]
    fn errnos_have_their_names() {
        assert_eq!(errno_name(Errno::ADDRNOTAVAIL), "EADDRNOTAVAIL");
        assert_eq!(errno_name(Errno::from_raw_os_error(libc::EKEYREJECTED)), "EKEYREJECTED");
        assert_eq!(errno_name(Errno::XDEV), format!("errno {}", libc::EXDEV));
    }
}
