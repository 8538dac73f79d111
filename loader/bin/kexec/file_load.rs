//! A load by kexec_file_load: the running kernel gets the files, checks and places them.

use std::{ffi::CString, os::fd::AsFd};

use purgatorio::{
    file::InputFile,
    image::Uki,
    machine,
    plan::PlanError,
    sys::{self, FileFlags, SysError, refusal::Situation},
};
use rustix::io::Errno;

use crate::{
    kernel::KernelError,
    load::{self, LoadError},
    refused::Refused,
    report::Report,
    request::Load,
    show::{FileLoad, Shown},
};

/// Loads, or shows what would be loaded.
pub fn load(request: &Load, report: &Report) -> Result<(), LoadError> {
    let kernel = InputFile::open(&request.kernel).map_err(KernelError::File)?;
    if matches!(Uki::parse(&kernel), Ok(Some(_))) {
        return Err(LoadError::NeedsKexecLoad("a unified kernel image"));
    }
    let initrd = request.initrd.as_deref().map(InputFile::open).transpose()?;
    let command_line = if request.reuse_cmdline {
        load::command_line(request, &machine::command_line(&request.sysroot)?)
    } else {
        load::command_line(request, "")
    };
    let shown = FileLoad {
        target: request.target,
        kernel: request.kernel.display().to_string(),
        initrd: request.initrd.as_ref().map(|path| path.display().to_string()),
        command_line,
    };
    if !load::show_first(request, &Shown::FileLoad(&shown), report)? {
        return Ok(());
    }
    let command_line = CString::new(shown.command_line)
        .map_err(|error| PlanError::CommandLineNul { offset: error.nul_position() })?;

    let mut flags = FileFlags::of(request.target);
    flags.set(FileFlags::NO_CMA, request.no_cma);
    let call = |flags| {
        let initrd = initrd.as_ref().map(AsFd::as_fd);
        sys::kexec_file_load(kernel.as_fd(), initrd, &command_line, flags)
    };
    let situation = Situation::read(&request.sysroot, request.target);
    let result = if report.is_debug() {
        match call(flags | FileFlags::DEBUG) {
            // Kernels before 6.8 do not know the flag.
            Err(SysError::Refused { errno: Errno::INVAL, .. }) => call(flags),
            result => result,
        }
    } else {
        call(flags)
    };
    Ok(result.map_err(|error| Refused::new(error, request.target, situation))?)
}
