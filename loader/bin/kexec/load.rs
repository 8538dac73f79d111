//! A load: which system call, and what both of them need.

use std::{io, path::PathBuf};

use indicatif::HumanBytes;
use purgatorio::{
    facts::Arch,
    fdt,
    file::FileError,
    image::Kind,
    machine::{MachineError, policy, status},
    options::Given,
    plan::{PlanError, Target, command_line},
    range::PhysRange,
};

use crate::{
    effect::{self, Acts},
    file_load,
    kernel::KernelError,
    kexec_load,
    method::{self, LoadCall},
    refused::Refused,
    report::Report,
    request::{Load, Method, Then},
    show::{self, Shown},
};

/// The kernel was not loaded. What was loaded before still is, with one exception: kexec_load drops
/// a crash kernel before it takes the new one's segments (kernel 6.1 kernel/kexec.c), so a
/// [`Refused`](Self::Refused) may leave none.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The running kernel reserved no memory for a crash kernel.
    #[error("no memory is reserved for a crash kernel")]
    NoCrashRegion,
    /// The kernel's file.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The initrd's file.
    #[error(transparent)]
    Initrd(#[from] FileError),
    /// A module's file.
    #[error(transparent)]
    Module(FileError),
    /// Modules for a kernel that takes none.
    #[error("--module is for Multiboot kernels, and {} is {kind}", path.display())]
    NoPlaceForModules {
        /// The kernel's file.
        path: PathBuf,
        /// What it is.
        kind: Kind,
    },
    /// The device tree's file.
    #[error("{}", path.display())]
    DeviceTree {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: fdt::ParseError,
    },
    /// `--reuseinitrd`, but the running kernel has given its initrd's memory to others.
    #[error("the running kernel has not kept its initrd: it was not started with retain_initrd")]
    InitrdNotRetained,
    /// An option without which the next kernel would not be what was asked for, and the call that
    /// has no place for it.
    #[error(
        "{0} needs kexec_load (-c): kexec_file_load, which -s, kho=on or a security policy of the \
         running kernel such as lockdown demands, cannot pass it on"
    )]
    NeedsKexecLoad(&'static str),
    /// The machine's facts.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Kernel, initrd and all the rest do not make a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was built for other machines.
    #[error(
        "this kexec was built without the purgatory for {0}: build it with --features every-arch"
    )]
    NoPurgatory(Arch),
    /// The purgatory that was built into this program.
    #[error("the purgatory in this program is damaged")]
    Purgatory(#[source] linker::Error),
    /// The plan cannot be written.
    #[error("cannot write the plan")]
    Show(#[source] io::Error),
    /// The running kernel refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl LoadError {
    /// What the user can do, where the message does not say it yet.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCrashRegion => Some(
                "add crashkernel=256M to the running kernel's command line and reboot".to_owned(),
            ),
            Self::Refused(refused) => refused.hint(),
            Self::Plan(PlanError::NoRoom { shortage, .. }) => Some(format!(
                "{} are missing: reserve more with crashkernel= for a crash kernel, use a smaller \
                 initrd, or widen --mem-min and --mem-max",
                HumanBytes(shortage.wanted.size.saturating_sub(shortage.largest))
            )),
            Self::Plan(PlanError::NoMemory { window }) => Some(memory_hint(*window, usize::BITS)),
            Self::Kernel(_)
            | Self::Initrd(_)
            | Self::Module(_)
            | Self::NoPlaceForModules { .. }
            | Self::DeviceTree { .. }
            | Self::InitrdNotRetained
            | Self::NeedsKexecLoad(_)
            | Self::Machine(_)
            | Self::Plan(_)
            | Self::NoPurgatory(_)
            | Self::Purgatory(_)
            | Self::Show(_) => None,
        }
    }
}

/// What helps when a program whose addresses have `bits` finds no memory in `window`.
fn memory_hint(window: PhysRange, bits: u32) -> String {
    if bits == 32 && window == PhysRange::inclusive(0, u32::MAX.into()) {
        return "this is a 32-bit program, which cannot name addresses above 4 GiB: use a 64-bit \
                kexec, or reserve memory below with crashkernel=SIZE@OFFSET or crashkernel=SIZE \
                without ,high"
            .to_owned();
    }
    "widen --mem-min and --mem-max; a crash kernel's memory is where crashkernel= reserved it"
        .to_owned()
}

/// Loads a kernel, or shows what would be loaded.
pub fn load(request: &Load, given: &Given, report: &Report) -> Result<(), LoadError> {
    if request.target == Target::Crash && status::crash_size(&request.sysroot)?.unwrap_or(0) == 0 {
        return Err(LoadError::NoCrashRegion);
    }
    // A crash kernel gets nothing that was kept.
    let hands_over =
        request.target == Target::Reboot && policy::hands_memory_over(&request.sysroot)?;
    match method::choose(request.method, hands_over, &request.sysroot, report)? {
        LoadCall::KexecFileLoad => by_file_load(request, given, report),
        LoadCall::KexecLoad => match by_kexec_load(request, given, report) {
            Err(LoadError::Refused(refused)) if request.method == Method::Auto => {
                let (error, situation) = refused.parts();
                match method::only_file_load_remains(error, situation) {
                    Some(reason) => {
                        report.decision(format_args!("using kexec_file_load: {reason}"));
                        by_file_load(request, given, report)
                    }
                    None => Err(refused.into()),
                }
            }
            result => result,
        },
    }
}

fn by_kexec_load(request: &Load, given: &Given, report: &Report) -> Result<(), LoadError> {
    effect::warn(given, &[Acts::FileLoad], "with kexec_load", report);
    effect::warn_of_machine(given, request.arch, report);
    if request.target != Target::Crash {
        effect::warn(given, &[Acts::CrashLoad], "without --load-panic", report);
    }
    kexec_load::load(request, report)
}

fn by_file_load(request: &Load, given: &Given, report: &Report) -> Result<(), LoadError> {
    let needed = [
        (request.dtb.is_some(), "--dtb"),
        (request.reuse_initrd, "--reuseinitrd"),
        (!request.modules.is_empty(), "--module"),
    ];
    if let Some(&(_, option)) = needed.iter().find(|(given, _)| *given) {
        return Err(LoadError::NeedsKexecLoad(option));
    }
    effect::warn(given, &[Acts::KexecLoad, Acts::CrashLoad], "with kexec_file_load", report);
    file_load::load(request, report)
}

/// The command line that was asked for: the running kernel's, if it is reused, and what is
/// appended.
pub fn command_line(request: &Load, running: &str) -> String {
    let reused = if request.reuse_cmdline {
        command_line::reuse(running, request.target)
    } else {
        String::new()
    };
    command_line::append(&reused, request.append.as_deref().unwrap_or_default())
}

/// Shows what is loaded where that was asked for. The answer: whether to go on and load it.
pub fn show_first(request: &Load, shown: &Shown<'_>, report: &Report) -> Result<bool, LoadError> {
    let only_show = request.then == Then::OnlyShow;
    if only_show || report.is_debug() {
        match show::show(shown, request.format, &mut io::stdout().lock()) {
            Err(error) if only_show => return Err(LoadError::Show(error)),
            // A full disk behind a log file is no reason to be without a crash kernel.
            Err(error) => report.warning_of(&LoadError::Show(error)),
            Ok(()) => {}
        }
    }
    Ok(!only_show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_32_bit_program_says_that_it_cannot_name_the_memory() {
        let all_it_can = PhysRange::new(0, 1 << 32);
        assert!(memory_hint(all_it_can, 32).contains("use a 64-bit kexec"));
        assert!(memory_hint(all_it_can, 64).contains("--mem-max"));
        assert!(memory_hint(PhysRange::new(0, 1 << 20), 32).contains("--mem-max"));
    }
}
