//! `kexec`: loads the kernel that runs next, after this one or when this one panics.
//!
//! Data goes one way: the words of the command line become [`options`], these one [`request`];
//! a [`load`] reads the [`kernel`] file and the machine's facts, plans, [`show`]s the plan and
//! hands it to the running kernel; [`execute`] starts what is loaded.
#![forbid(unsafe_code)]

mod console;
mod effect;
mod error;
mod execute;
mod file_load;
mod kernel;
mod kexec_load;
mod load;
mod method;
mod modules;
mod prepare;
mod progress;
mod refused;
mod report;
mod request;
mod show;
mod status;
mod tree_summary;
mod unload;
mod unpacked;

use std::process::ExitCode;

use effect::Acts;
use error::Error;
use load::LoadError;
use purgatorio::options::{self, Given, Options};
use report::Report;
use request::{Request, Then};

fn main() -> ExitCode {
    let (options, given) = match options::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error::print_usage(&error),
    };
    let report = Report::new(options.debug);
    run(options, &given, &report).unwrap_or_else(|error| {
        report.error(&error, error.hint());
        error.exit_code()
    })
}

fn run(options: Options, given: &Given, report: &Report) -> Result<ExitCode, Error> {
    let has_kernel = options.kernel.is_some();
    let request = Request::new(options)?;
    warn_of_options_without_effect(&request, given, has_kernel, report);
    match request {
        Request::Status { target, sysroot } => return Ok(status::status(target, &sysroot)?),
        Request::CrashSize { sysroot } => status::print_crash_size(&sysroot)?,
        Request::Unload { target, method } => unload::unload(target, method, report)?,
        Request::Execute(departure) => {
            execute::execute(departure, report)?;
        }
        Request::Prepare { kernel } => {
            prepare::prepare(&kernel, report).map_err(LoadError::from)?
        }
        Request::Load(request) => {
            load::load(&request, given, report)?;
            match request.then {
                Then::OnlyShow | Then::Return => {}
                Then::Execute(departure) => {
                    execute::execute(departure, report)?;
                }
                Then::ShutDown => execute::shut_down(report)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn warn_of_options_without_effect(
    request: &Request,
    given: &Given,
    has_kernel: bool,
    report: &Report,
) {
    use Acts::{CrashLoad, Departure, FileLoad, KexecLoad, Load, Showing, SystemCall};
    const LOADS: [Acts; 5] = [Load, KexecLoad, CrashLoad, FileLoad, Showing];
    let (situation, others): (_, &[Acts]) = match request {
        Request::Status { .. } => return,
        Request::Load(load) => {
            if !matches!(load.then, Then::Execute(_)) {
                effect::warn(given, &[Departure], "without --exec or --force", report);
            }
            if load.then != Then::OnlyShow && !report.is_debug() {
                effect::warn(given, &[Showing], "without --dry-run or --debug", report);
            }
            return;
        }
        Request::CrashSize { .. } => ("with --print-ckr-size", &[SystemCall, Departure]),
        Request::Unload { .. } => ("with --unload", &[Departure]),
        Request::Execute(_) => ("with --exec", &[SystemCall]),
        Request::Prepare { .. } => ("with --prepare", &[SystemCall, Departure]),
    };
    effect::warn(given, &[&LOADS, others].concat(), situation, report);
    if has_kernel && !matches!(request, Request::Prepare { .. }) {
        report.warning(format_args!("a kernel file has no effect {situation}"));
    }
}
