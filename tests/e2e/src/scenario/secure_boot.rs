//! Secure Boot: the firmware trusts a key of ours alone, the kernel is in lockdown, and only
//! kexec_file_load with a signed kernel is left. What else forbids a load is tried on the way.

use std::fs;

use e2e_guest::Step;
use serde_json::json;

use super::crash::{self, Crash, Others};
use super::guest::{Ran, ran_in, show_step};
use super::{Error, prove};
use crate::arch::FirmwareKind;
use crate::cell::{Cell, LOADER, SECOND_KERNEL, Syscall};
use crate::first_boot::GuestFile;
use crate::lab::{self, Lab};
use crate::secure_boot;

const UNSIGNED: &str = "/e2e/unsigned";
const SECURITYFS: &str = "/sys/kernel/security";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const NOBODY: u32 = 65534;

/// A call of the loader: name, user, options and kernel, exit code, and what it has to say.
type Call = (&'static str, u32, &'static [&'static str], i32, &'static [&'static str]);

/// Nothing is unpacked for a load that will be refused.
const PACKED: &str = "--entry-mode=bzimage";
/// While securityfs is not mounted, as in an initramfs: kexec_load is tried, and Debian's kernel
/// says EACCES, since Secure Boot gives IMA a policy too.
const UNSEEN: Call = (
    "unseen",
    0,
    &["-a", "-p", "-d", PACKED, SECOND_KERNEL],
    0,
    &["using kexec_file_load: a security policy accepts only files"],
);
/// The rest of the calls before the load that stays.
const SEEN: &[Call] = &[
    ("auto", 0, &["-a", "-p", "-d", SECOND_KERNEL], 0, &["using kexec_file_load", "lockdown"]),
    (
        "kexec_load",
        0,
        &["-c", "-p", PACKED, SECOND_KERNEL],
        255,
        &["lockdown, on because of Secure Boot, forbids kexec_load", "use -s"],
    ),
    ("unsigned", 0, &["-a", "-p", UNSIGNED], 255, &["lockdown", "not signed"]),
    ("unprivileged", NOBODY, &["-a", "-p", SECOND_KERNEL], 255, &["CAP_SYS_BOOT", "as root"]),
];
/// With the limit of loads for a reboot at 0.
const LIMITED: Call =
    ("limited", 0, &["-a", "-l", SECOND_KERNEL], 255, &["kernel.kexec_load_limit_reboot"]);
/// With kernel.kexec_load_disabled set.
const DISABLED: Call =
    ("disabled", 0, &["-a", "-p", SECOND_KERNEL], 255, &["kernel.kexec_load_disabled"]);

/// A machine whose firmware starts the kernel because we have signed it; the same file is what
/// is loaded.
pub fn adapt(lab: &Lab, cell: &mut Cell) -> Result<(), Error> {
    let signed = lab.dir.join(format!("signed-{}", cell.name));
    lab.secure_boot_keys()?.sign(&cell.kernel.image, &signed).map_err(lab::Error::from)?;
    cell.kernel.image.clone_from(&signed);
    cell.second_kernel = signed;
    cell.firmware = FirmwareKind::SecureBoot;
    cell.syscall = Syscall::Auto;
    Ok(())
}

/// Tries what must fail, then panics under lockdown and proves the dump.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Crash, Error> {
    let unsigned = lab.dir.join(format!("unsigned-{}", cell.name));
    secure_boot::unsigned(&cell.kernel.image, &unsigned).map_err(lab::Error::from)?;
    let sysctl = |name: &str, value: &str| Step::Write {
        path: format!("/proc/sys/kernel/{name}"),
        text: value.into(),
    };
    let mut before = vec![
        step(&UNSEEN),
        Step::Mount { kind: "securityfs".into(), on: SECURITYFS.into() },
        show_step(LOCKDOWN),
    ];
    before.extend(SEEN.iter().map(step));
    before.extend([sysctl("kexec_load_limit_reboot", "0"), step(&LIMITED)]);
    let others = Others {
        before,
        after: vec![sysctl("kexec_load_disabled", "1"), step(&DISABLED)],
        files: vec![GuestFile::copy(UNSIGNED, &unsigned)],
    };
    let mut crash = crash::prove_dump_among(lab, cell, &others)?;

    let path = lab.dir.join(&cell.name).join("serial.log");
    let log = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
    // Kernel 6.1 drivers/firmware/efi/libstub/secureboot.c, and Debian's lockdown.
    for said in ["UEFI Secure Boot is enabled", &format!("{LOCKDOWN} none [integrity]")] {
        prove(log.contains(said), || format!("the console does not say {said:?}"))?;
    }
    for call in [&UNSEEN, &LIMITED, &DISABLED].into_iter().chain(SEEN) {
        let &(name, _, _, code, says) = call;
        let Ran { code: exit, output } = ran_in(&log, name)?;
        let said = output.join("\n");
        prove(exit == Some(code) && says.iter().all(|text| said.contains(text)), || {
            format!(
                "{name}: exit code {exit:?} (wanted {code}), wanted all of {says:?} in:\n{said}"
            )
        })?;
        crash.evidence.insert(name.into(), json!(output));
    }
    Ok(crash)
}

fn step(&(name, uid, arguments, ..): &Call) -> Step {
    let argv = [LOADER].iter().chain(arguments).map(|&word| word.to_owned()).collect();
    Step::Run { name: name.into(), argv, uid }
}
