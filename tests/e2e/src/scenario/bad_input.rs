//! Loads that must fail: with the right exit code, a message that says what is wrong, and nothing
//! loaded.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use e2e_guest::{Script, Step};
use purgatorio::facts::Arch;
use serde_json::json;

use super::guest::{Ran, ran, run_step, show_step, value};
use super::{Error, PATIENCE, prove};
use crate::cell::{Cell, LOADER, SECOND_INITRD, SECOND_KERNEL};
use crate::first_boot::GuestFile;
use crate::lab::{Lab, Watch};
use crate::loader::Maker;
use crate::outcome::Evidence;
use crate::qemu::End;

/// The unprivileged user.
const NOBODY: u32 = 65534;
/// Exit code of a load that failed.
const NOT_LOADED: i32 = 255;
/// Exit code where no memory is reserved for a crash kernel.
const NO_CRASH_REGION: i32 = 254;

/// Bytes that the reserved memory has no room for.
const HUGE: u64 = 200 << 20;

/// What of a kernel's file says where its parts are, behind the magic numbers that name the format.
pub(super) fn headers(arch: Arch) -> Range<usize> {
    match arch {
        // In the setup header.
        Arch::X86_64 | Arch::I386 => 0x210..0x268,
        // Two program headers of the ELF file.
        Arch::Ppc64le | Arch::Ppc64 => 0x40..0xb0,
    }
}

/// One load that must fail.
struct Case {
    name: &'static str,
    uid: u32,
    kernel: &'static str,
    initrd: &'static str,
    append: String,
    code: i32,
    /// Words of which the message must have one, in lower case.
    says: &'static [&'static str],
}

impl Case {
    fn new(name: &'static str, code: i32, says: &'static [&'static str]) -> Self {
        Self {
            name,
            uid: 0,
            kernel: SECOND_KERNEL,
            initrd: SECOND_INITRD,
            append: "panic=-1".into(),
            code,
            says,
        }
    }

    fn command(&self, cell: &Cell) -> Vec<String> {
        let mut command = vec![LOADER.to_owned(), "-p".into()];
        command.extend(cell.common_arguments());
        command.push(format!("--initrd={}", self.initrd));
        command.push(format!("--append={}", self.append));
        command.push(self.kernel.into());
        command
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            uid: NOBODY,
            ..Case::new("unprivileged", NOT_LOADED, &["root", "cap_sys_boot", "privilege"])
        },
        Case {
            kernel: "/e2e/truncated",
            ..Case::new("truncated-kernel", NOT_LOADED, &["trunc", "short", "ends", "beyond"])
        },
        Case {
            kernel: "/e2e/mutated",
            ..Case::new("mutated-kernel", NOT_LOADED, &["/e2e/mutated"])
        },
        Case { kernel: "/e2e/none", ..Case::new("missing-kernel", NOT_LOADED, &["no such file"]) },
        Case { kernel: "/e2e/empty", ..Case::new("empty-kernel", NOT_LOADED, &["empty"]) },
        Case {
            kernel: "/tmp/unreadable",
            uid: NOBODY,
            ..Case::new("unreadable-kernel", NOT_LOADED, &["permission denied"])
        },
        Case { kernel: "/e2e", ..Case::new("folder-as-kernel", NOT_LOADED, &["directory"]) },
        Case { initrd: "/e2e/none", ..Case::new("missing-initrd", NOT_LOADED, &["no such file"]) },
        Case { initrd: "/tmp/huge", ..Case::new("huge-initrd", NOT_LOADED, &["initrd"]) },
        Case {
            append: "x".repeat(5000),
            ..Case::new("long-command-line", NOT_LOADED, &["command line"])
        },
    ]
}

/// Every bad input in one machine with reserved memory, and a good one in a machine without.
pub fn run(lab: &Lab, cell: &Cell) -> Result<Evidence, Error> {
    let mut evidence = Evidence::new();
    all_cases(lab, cell, &cases(), &mut evidence)?;
    let without =
        Cell { name: format!("{}-no-crashkernel", cell.name), crashkernel: None, ..cell.clone() };
    let case = Case::new("no-crashkernel", NO_CRASH_REGION, &["crashkernel="]);
    all_cases(lab, &without, &[case], &mut evidence)?;
    Ok(evidence)
}

fn all_cases(lab: &Lab, cell: &Cell, cases: &[Case], evidence: &mut Evidence) -> Result<(), Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let kernel = fs::read(&cell.second_kernel)
        .map_err(|source| Error::File { path: cell.second_kernel.clone(), source })?;
    let mut mutated = kernel.clone();
    mutated[headers(cell.arch)].fill(0xff);
    let files = [
        GuestFile::new("/e2e/truncated", &kernel[..kernel.len() / 8]),
        GuestFile::new("/e2e/mutated", mutated),
        GuestFile::new("/e2e/empty", []),
    ];
    let mut steps = vec![
        Step::MakeFile { path: "/tmp/huge".into(), size: HUGE, mode: 0o644 },
        Step::MakeFile { path: "/tmp/unreadable".into(), size: 4096, mode: 0 },
    ];
    for case in cases {
        let (name, argv) = (case.name.into(), case.command(cell));
        steps.push(Step::Run { name, argv, uid: case.uid });
        steps.push(show_step("/sys/kernel/kexec_crash_loaded"));
        // What was loaded all the same must not stand in the next case's way.
        steps.push(run_step("unload", vec![LOADER.into(), "-p".into(), "-u".into()]));
    }
    let mut qemu = lab.boot(cell, &folder, &Script { steps }, &files, None, Watch::Plain)?;
    let mut wrong = Vec::new();
    for case in cases {
        let ran = ran(&mut qemu, case.name)?;
        let loaded = value(&mut qemu, "e2e: show /sys/kernel/kexec_crash_loaded ")?;
        evidence.insert(case.name.into(), json!({ "exit": ran.code, "said": ran.output }));
        wrong.extend(what_is_wrong(case, &ran, &loaded, cell.loader.maker));
    }
    let end = qemu.wait_end(PATIENCE.min(Duration::from_secs(60)))?;
    prove(end == End::PowerOff, || format!("the machine ended by {end:?}, not by power-off"))?;
    prove(wrong.is_empty(), || wrong.join("\n"))
}

/// The peer has its own words and codes: of it only failure is asked.
fn what_is_wrong(case: &Case, ran: &Ran, loaded: &str, maker: Maker) -> Option<String> {
    let said = ran.output.join("\n").to_lowercase();
    let told = case.says.iter().any(|words| said.contains(words)) && !said.contains("panicked");
    let failed = match maker {
        Maker::Ours => ran.code == Some(case.code) && told,
        Maker::Peer => ran.code.is_some_and(|code| code != 0),
    };
    (!failed || loaded != "0").then(|| {
        format!(
            "{}: exit code {:?} (wanted {}), kexec_crash_loaded {loaded:?}, wanted one of {:?} \
             in:\n    {}",
            case.name,
            ran.code,
            case.code,
            case.says,
            ran.output.join("\n    ")
        )
    })
}
