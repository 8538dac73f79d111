//! `kdump rehearse`: a crash of this machine's kernel, in a virtual machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::options::MachineOptions;
use crate::kexec::Kexec;
use crate::packed::{self, CaptureImage};
use crate::prepare::{self, command_line, prepare};
use crate::rehearse::machine::Accelerator;
use crate::rehearse::report::Report;
use crate::rehearse::{self, Request};
use crate::search_path;
use crate::settings;

/// Exit code: a crash would not be saved.
const WOULD_NOT_WORK: u8 = 1;

/// Exit code: there can be no rehearsal.
const CANNOT_TELL: u8 = 2;

/// What the first kernel reserves where this machine's reserves nothing, in MiB.
const CRASHKERNEL: u64 = 256;

/// Options of `kdump rehearse`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    machine: MachineOptions,
    /// The kernel that panics and is loaded to save the dump [default: what `kdump load` loads]
    #[arg(long, value_name = "FILE", requires = "image")]
    kernel: Option<PathBuf>,
    /// The capture image of this kernel [default: what `kdump load` loads]
    #[arg(long, value_name = "FILE", requires = "kernel")]
    image: Option<PathBuf>,
    /// The kernel's modules, …/lib/modules/RELEASE, from which a driver is added where QEMU has no
    /// disk that the image drives [default: those of the kernel that `kdump load` loads]
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,
    /// The static kexec [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    kexec: Option<PathBuf>,
    /// The capture kernel's command line [default: as `kdump load` makes it]
    #[arg(long, value_name = "WORDS")]
    append: Option<String>,
    /// What the first kernel reserves, in MiB [default: what this machine has reserved]
    #[arg(long, value_name = "MIB")]
    crashkernel: Option<u64>,
    /// Look for the smallest crashkernel= that works
    #[arg(long)]
    find_crashkernel: bool,
    /// The most boots to spend on that
    #[arg(long, value_name = "N", default_value_t = 8)]
    boots: u32,
    /// Memory of the virtual machine in MiB [default: what the reserved memory asks for]
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Number of its CPUs
    #[arg(long, value_name = "N", default_value_t = 1)]
    smp: usize,
    /// What runs it [default: kvm where that works, else tcg]
    #[arg(long, value_name = "NAME")]
    accel: Option<Accel>,
    /// How many seconds one boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Keep the logs in this directory [default: a temporary one, kept if the rehearsal fails]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

/// What runs the virtual machine.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Accel {
    /// This machine's CPU
    Kvm,
    /// An emulated one
    Tcg,
}

/// Why there was no rehearsal.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It cannot be held.
    #[error("cannot rehearse")]
    Rehearsal(#[from] rehearse::Error),
    /// The directory for the logs cannot be made.
    #[error("cannot rehearse: cannot make the directory {}", path.display())]
    Logs {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// What `kdump load` would load cannot be had.
    #[error("cannot rehearse")]
    Prepare(#[from] prepare::Error),
    /// The image cannot be read.
    #[error("cannot rehearse: cannot read the image {}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image does not say which machine it is for.
    #[error("cannot rehearse")]
    Packed(#[from] packed::Error),
    /// The report cannot be written down.
    #[error("cannot write the report")]
    Json(#[from] serde_json::Error),
}

/// Rehearses; the exit code is 0 if a crash would be saved, 1 if not, and 2 if there can be no
/// rehearsal.
pub fn run(arguments: &Arguments) -> ExitCode {
    match rehearse(arguments) {
        Ok(Report { works: true, .. }) => ExitCode::SUCCESS,
        Ok(Report { works: false, .. }) => ExitCode::from(WOULD_NOT_WORK),
        Err(failure) => {
            eprintln!("kdump: {}", capture::console::chain(&failure));
            ExitCode::from(CANNOT_TELL)
        }
    }
}

fn rehearse(arguments: &Arguments) -> Result<Report, Failure> {
    let (folder, temporary) = log_folder(arguments.logs.as_deref())?;
    let mut tell = |line: &str| eprintln!("{line}");
    let report = rehearse::run(&request(arguments)?, &folder, &mut tell);
    let keep = arguments.logs.is_some() || !report.as_ref().is_ok_and(|report| report.works);
    if keep {
        temporary.map(tempfile::TempDir::keep);
        eprintln!("logs: {}", folder.display());
    }
    let report = Report { logs: keep.then_some(folder), ..report? };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("\n{report}");
    }
    Ok(report)
}

/// The folder for the logs, and its guard if it is to go with the program.
fn log_folder(given: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Logs { path, source }
    };
    if let Some(path) = given {
        fs::create_dir_all(path).map_err(failed(path))?;
        return Ok((path.to_owned(), None));
    }
    let folder = tempfile::Builder::new().prefix("kdump-rehearsal-").tempdir();
    let folder = folder.map_err(failed(&std::env::temp_dir()))?;
    Ok((folder.path().to_owned(), Some(folder)))
}

fn request(arguments: &Arguments) -> Result<Request, Failure> {
    let Rehearsed { kernel, image, image_bytes, command_line, kexec_options, modules } =
        rehearsed(arguments)?;
    let kexec = Kexec::find(arguments.kexec.as_deref());
    // One that is nowhere is reported where it is read.
    let kexec = search_path::find(kexec.program()).unwrap_or_else(|| kexec.program().to_owned());
    Ok(Request {
        kernel,
        image,
        image_bytes,
        kexec,
        kexec_options,
        modules: arguments.modules_dir.clone().or(modules),
        append: arguments.append.clone().unwrap_or(command_line),
        crashkernel: arguments.crashkernel.or_else(reserved_here).unwrap_or(CRASHKERNEL),
        memory: arguments.memory,
        smp: arguments.smp,
        accelerator: arguments.accel.map(|accel| match accel {
            Accel::Kvm => Accelerator::Kvm,
            Accel::Tcg => Accelerator::Tcg,
        }),
        timeout: Duration::from_secs(arguments.timeout),
        search: if arguments.find_crashkernel { arguments.boots } else { 0 },
    })
}

/// What the crash of a machine depends on.
struct Rehearsed {
    kernel: PathBuf,
    image: PathBuf,
    image_bytes: Vec<u8>,
    command_line: String,
    kexec_options: Vec<String>,
    modules: Option<PathBuf>,
}

/// The files that are given, or what `kdump load` would load on this machine.
fn rehearsed(arguments: &Arguments) -> Result<Rehearsed, Failure> {
    let machine = arguments.machine.machine();
    let settings = arguments.machine.settings()?;
    if let (Some(kernel), Some(image)) = (&arguments.kernel, &arguments.image) {
        let image_bytes =
            fs::read(image).map_err(|source| Failure::Image { path: image.clone(), source })?;
        let arch = CaptureImage::parse(image, &image_bytes)?.arch(image)?;
        // Of the running kernel's words none is for another machine's.
        let command_line = command_line(Some(arch), "", &settings.kernel);
        return Ok(Rehearsed {
            kernel: kernel.clone(),
            image: image.clone(),
            image_bytes,
            command_line: command_line.to_string(),
            kexec_options: settings.kernel.kexec_options,
            modules: None,
        });
    }
    let prepared = prepare(&machine, &settings, &arguments.machine.programs())?;
    let wanted = prepared.wanted;
    Ok(Rehearsed {
        kernel: machine.of_absolute(&wanted.kernel.path),
        image: wanted.image.path,
        image_bytes: prepared.image,
        command_line: wanted.command_line,
        kexec_options: wanted.kexec_options,
        modules: Some(machine.path(&format!("lib/modules/{}", wanted.kernel.release))),
    })
}

/// What this machine's kernel has reserved, in MiB.
fn reserved_here() -> Option<u64> {
    let text = fs::read_to_string("/sys/kernel/kexec_crash_size").ok()?;
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes > 0).then_some(bytes >> 20)
}
