//! Options without effect on what was asked for: they are warned about, never silently ignored.

use purgatorio::{
    facts::Arch,
    image::Image,
    options::Given,
    plan::{ElfArguments, Kernel, Program},
};

use crate::{report::Report, request::Load};

/// What an option acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// A load, by any system call.
    Load,
    /// A load by kexec_load: the plan and purgatory are ours.
    KexecLoad,
    /// A load of a crash kernel by kexec_load.
    CrashLoad,
    /// A load by kexec_file_load.
    FileLoad,
    /// Leaving the running system (`-e`, `-f`).
    Departure,
    /// Showing the plan (`--dry-run`, `-d`).
    Showing,
    /// A load or an unload: which system call.
    SystemCall,
}

/// Every option that does not act on everything.
const ACTS: &[(&str, Acts)] = &[
    ("append", Acts::Load),
    ("reuse-cmdline", Acts::Load),
    ("initrd", Acts::Load),
    ("reuseinitrd", Acts::Load),
    ("dtb", Acts::Load),
    ("dt-no-old-root", Acts::KexecLoad),
    ("module", Acts::Load),
    ("args-linux", Acts::KexecLoad),
    ("args-elf", Acts::KexecLoad),
    ("args-none", Acts::KexecLoad),
    ("type", Acts::KexecLoad),
    ("format", Acts::Showing),
    ("arch", Acts::Load),
    ("entry-mode", Acts::KexecLoad),
    ("entry-32bit", Acts::KexecLoad),
    ("mem-min", Acts::KexecLoad),
    ("mem-max", Acts::KexecLoad),
    ("pass-memmap-cmdline", Acts::CrashLoad),
    ("reuse-video-type", Acts::KexecLoad),
    ("noefi", Acts::KexecLoad),
    ("elf32-core-headers", Acts::CrashLoad),
    ("elf64-core-headers", Acts::CrashLoad),
    ("hotplug", Acts::CrashLoad),
    ("no-checks", Acts::KexecLoad),
    ("on-mismatch", Acts::KexecLoad),
    ("serial", Acts::KexecLoad),
    ("serial-baud", Acts::KexecLoad),
    ("console-serial", Acts::KexecLoad),
    ("console-vga", Acts::KexecLoad),
    ("reset-vga", Acts::KexecLoad),
    ("no-cma", Acts::FileLoad),
    ("no-ifdown", Acts::Departure),
    ("no-sync", Acts::Departure),
    ("kexec-syscall", Acts::SystemCall),
    ("kexec-file-syscall", Acts::SystemCall),
    ("kexec-syscall-auto", Acts::SystemCall),
];

/// What only PCs have. (With `--entry-mode` and `--entry-32bit` only a bzImage is welcome.)
const ON_PCS: &[&str] = &[
    "args-linux",
    "args-elf",
    "args-none",
    "elf32-core-headers",
    "pass-memmap-cmdline",
    "reuse-video-type",
    "noefi",
    "serial",
    "serial-baud",
    "console-serial",
    "console-vga",
    "reset-vga",
];
/// What only machines with a device tree have. (Of these the next kernel can do without this one.)
const WITH_DEVICE_TREE: &[&str] = &["dt-no-old-root"];

/// Warns about the given options that are about another kind of machine.
pub fn warn_of_machine(given: &Given, arch: Arch, report: &Report) {
    let others = match arch {
        Arch::X86_64 | Arch::I386 => WITH_DEVICE_TREE,
        Arch::Ppc64le | Arch::Ppc64 => ON_PCS,
    };
    for option in others.iter().filter(|option| given.iter().any(|other| other == **option)) {
        report.warning(format_args!("--{option} has no effect on {arch} machines"));
    }
}

/// Warns about what a kernel of this kind is not told.
pub fn warn_of_kernel(request: &Load, image: &Image<'_>, kernel: &Kernel<'_>, report: &Report) {
    if request.arguments.is_some() && !matches!(image, Image::Vmlinux(_)) {
        let kind = image.kind();
        report.warning(format_args!("--args-* has no effect: the kernel is {kind}"));
    }
    let Kernel::Program(program) = kernel else { return };
    if request.dtb.is_some() {
        report.warning("--dtb has no effect on a kernel that is not Linux");
    }
    if matches!(program, Program::Elf { arguments: ElfArguments::None, .. })
        && (request.append.is_some() || request.reuse_cmdline)
    {
        report.warning("with --args-none the kernel gets no command line");
    }
}

/// Warns about the given options that act only on one of `absent`.
pub fn warn(given: &Given, absent: &[Acts], situation: &str, report: &Report) {
    for option in without_effect(given, absent) {
        report.warning(format_args!("--{option} has no effect {situation}"));
    }
}

fn without_effect<'a>(
    given: &'a Given,
    absent: &'a [Acts],
) -> impl Iterator<Item = &'static str> + 'a {
    ACTS.iter()
        .filter(|(name, acts)| absent.contains(acts) && given.iter().any(|other| other == name))
        .map(|&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options that choose the action, or act on every one.
    const ALWAYS: &[&str] = &[
        "load",
        "load-panic",
        "unload",
        "exec",
        "force",
        "prepare",
        "status",
        "print-ckr-size",
        "dry-run",
        "sysroot",
        "debug",
        "version",
    ];

    #[test]
    fn every_option_has_its_place() {
        for argument in purgatorio::options::definition().get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            let listed = ACTS.iter().filter(|(other, _)| *other == name).count();
            let always = ALWAYS.iter().filter(|other| **other == name).count();
            assert_eq!(listed + always, 1, "--{name} must be in exactly one of the two lists");
        }
    }

    #[test]
    fn only_given_options_are_reported() {
        let given = vec!["no-checks".to_owned(), "append".to_owned()];
        assert!(without_effect(&given, &[Acts::KexecLoad]).eq(["no-checks"]));
        assert!(without_effect(&given, &[Acts::Departure]).next().is_none());
    }
}
