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
mod options;
mod progress;
mod refused;
mod report;
mod request;
mod show;
mod status;
mod unload;

use std::process::ExitCode;

use effect::Acts;
use error::Error;
use options::{Given, Options};
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
    use Acts::{CrashLoad, Departure, FileLoad, KexecLoad, Load, SystemCall};
    let (situation, absent): (_, &[Acts]) = match request {
        Request::Status { .. } => return,
        Request::CrashSize { .. } => (
            "with --print-ckr-size",
            &[Load, KexecLoad, CrashLoad, FileLoad, SystemCall, Departure],
        ),
        Request::Unload { .. } => {
            ("with --unload", &[Load, KexecLoad, CrashLoad, FileLoad, Departure])
        }
        Request::Execute(_) => ("with --exec", &[Load, KexecLoad, CrashLoad, FileLoad, SystemCall]),
        Request::Load(load) if matches!(load.then, Then::Execute(_)) => return,
        Request::Load(_) => ("without --exec or --force", &[Departure]),
    };
    effect::warn(given, absent, situation, report);
    if has_kernel && !matches!(request, Request::Load(_)) {
        report.warning(format_args!("a kernel file has no effect {situation}"));
    }
}
