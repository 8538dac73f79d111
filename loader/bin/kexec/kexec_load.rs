//! A load by kexec_load: our plan, with our purgatory in it.

use purgatorio::{
    facts::{Facts, Platform},
    file::InputFile,
    image::Image,
    machine,
    options::OnMismatch,
    plan::{self, Kernel, Options, Plan, Target},
    purgatory_image,
    sys::{self, LoadFlags},
};
use purgatory::params;

use crate::{
    console,
    kernel::{Entry, KernelFile},
    load::{self, LoadError},
    progress,
    refused::Refused,
    report::Report,
    request::Load,
    show::Shown,
};

/// Loads, or shows what would be loaded.
pub fn load(request: &Load, report: &Report) -> Result<(), LoadError> {
    // The files first: what is wrong with them can be told without privileges.
    let file = KernelFile::open(&request.kernel, report)?;
    let image = file.image(request.image_type)?;
    let initrd = request.initrd.as_deref().map(InputFile::open).transpose()?;

    let facts = machine::read_facts(&request.sysroot, request.arch)?;
    let purgatory = purgatory_image(request.arch).ok_or(LoadError::NoPurgatory(request.arch))?;
    let purgatory = linker::Image::parse(purgatory).map_err(LoadError::Purgatory)?;
    let entry = match &facts.platform {
        Platform::X86(x86) => Entry::choose(&image, request, x86.cpu, report)?,
    };
    let unpacked = entry.vmlinux(&request.kernel)?;
    let kernel = match (&image, &unpacked) {
        (Image::Vmlinux(vmlinux), _) => Kernel::Direct { header: None, vmlinux },
        (Image::BzImage(image), Some(vmlinux)) => Kernel::Direct { header: Some(image), vmlinux },
        (Image::BzImage(image), None) => Kernel::BzImage { image, entry_32bit: entry.entry_32bit },
    };
    let command_line = load::command_line(request, &facts.command_line);
    let plan_request = plan::Request {
        target: request.target,
        kernel,
        initrd: initrd.as_deref(),
        command_line: &command_line,
        options: options(request, entry.reason.clone(), &facts, report),
    };
    let plan = progress::during("planning and digesting", |_| {
        plan::plan(&plan_request, &facts, &purgatory)
    })?;
    if !load::show_first(request, &Shown::KexecLoad(&plan), report)? {
        return Ok(());
    }
    hand_over(&plan, &plan_request.options, purgatory.machine())
        .map_err(|error| Refused::new(error, request.target, &request.sysroot))?;
    report.decision("loaded by kexec_load");
    Ok(())
}

fn options(
    request: &Load,
    entry_reason: Option<String>,
    facts: &Facts,
    report: &Report,
) -> Options {
    let console = request.console.choose(facts);
    report.decision(console::describe(&console));
    Options {
        mem_min: request.mem_min,
        mem_max: request.mem_max,
        verify: request.verify,
        on_mismatch: match request.on_mismatch {
            OnMismatch::Reset => params::OnMismatch::Reset,
            OnMismatch::Halt => params::OnMismatch::Halt,
            OnMismatch::Ignore => params::OnMismatch::Ignore,
        },
        console,
        pass_memmap_cmdline: request.pass_memmap_cmdline,
        efi: request.efi,
        hotplug: hotplug(request, facts, report),
        rng_seed: rng_seed(),
        entry_reason,
        ..Options::default()
    }
}

/// Whether the running kernel will update the core headers: it must be asked to, and able to.
fn hotplug(request: &Load, facts: &Facts, report: &Report) -> bool {
    let wanted = request.hotplug && request.target == Target::Crash;
    if wanted && facts.crash_elfcorehdr_size.is_none() {
        report.warning(
            "--hotplug has no effect: the running kernel does not update elfcorehdr \
             (CONFIG_CRASH_HOTPLUG, kernel 6.5)",
        );
        return false;
    }
    wanted
}

/// Randomness of this kernel for the next one, if it has any yet.
fn rng_seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    let read = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::NONBLOCK);
    (read == Ok(seed.len())).then_some(seed)
}

fn hand_over(plan: &Plan<'_>, options: &Options, e_machine: u16) -> Result<(), sys::SysError> {
    let mut flags = LoadFlags::of(plan.target).for_machine(e_machine);
    // x86 takes this flag since 6.5; the newer KEXEC_CRASH_HOTPLUG_SUPPORT means the same there and
    // is refused before 6.10.
    flags.set(LoadFlags::UPDATE_ELFCOREHDR, options.hotplug);
    sys::kexec_load(plan.entry, &plan.segments, flags)
}
