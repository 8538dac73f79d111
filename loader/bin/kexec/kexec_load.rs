//! A load by kexec_load: our plan, with our purgatory in it.

use std::path::Path;

use purgatorio::{
    facts::{Facts, Platform},
    fdt::DeviceTree,
    file::InputFile,
    image::{Image, Vmlinux},
    machine,
    options::OnMismatch,
    plan::{
        self, ElfArguments, Kernel, Options, PlanError, Program, Target,
        command_line::{append, inherit_root, words},
        x86::kaslr::{self, Seed},
    },
    purgatory_image,
    sys::{self, LoadFlags, refusal::Situation},
};
use purgatory::params;

use crate::{
    console, effect,
    kernel::{Entry, KernelFile},
    load::{self, LoadError},
    modules::{self, ModuleFile},
    progress,
    refused::Refused,
    report::Report,
    request::{Arguments, Load, Then},
    show::Shown,
    unpacked::{Keep, Unpacker},
};

/// Loads, or shows what would be loaded.
pub fn load(request: &Load, report: &Report) -> Result<(), LoadError> {
    // The files first: what is wrong with them can be told without privileges.
    let keep = if request.then == Then::OnlyShow { Keep::Never } else { Keep::IfPossible };
    let unpacker = Unpacker::new(keep, report);
    let file = KernelFile::open(&request.kernel, &unpacker)?;
    let image = file.image(request.image_type)?;
    let initrd = request.initrd.as_deref().map(InputFile::open).transpose()?;
    // As EFI's stub has it: who gives another command line does not want the embedded one.
    let wants_embedded_line = request.append.is_none() && !request.reuse_cmdline;
    let embedded = file.embedded(wants_embedded_line)?;
    if let Some(embedded) = &embedded {
        report.decision(embedded);
    }
    let module_files = modules::open(&request.modules).map_err(LoadError::Module)?;
    let modules: Vec<_> = module_files.iter().map(ModuleFile::module).collect();
    if !modules.is_empty() && !matches!(image, Image::Multiboot(_)) {
        let (path, kind) = (request.kernel.clone(), image.kind());
        return Err(LoadError::NoPlaceForModules { path, kind });
    }
    let device_tree = request.dtb.as_deref().map(device_tree).transpose()?;

    let facts = machine::read_facts(&request.sysroot, request.arch)?;
    let purgatory = purgatory_image(request.arch).ok_or(LoadError::NoPurgatory(request.arch))?;
    let purgatory = linker::Image::parse(purgatory).map_err(LoadError::Purgatory)?;
    let embedded_line = embedded.as_ref().and_then(|embedded| embedded.command_line);
    let mut command_line = match embedded_line {
        Some(line) if wants_embedded_line => line.to_owned(),
        Some(_) | None => command_line(request, &facts, device_tree.as_ref()),
    };
    if matches!(image, Image::Multiboot(_)) {
        // As kexec-tools and the first boot loaders have it: the kernel's path is the first word.
        command_line = append(&request.kernel.display().to_string(), &command_line);
    }
    let random = Random::take();
    let entry = match (&image, &facts.platform) {
        (Image::Vmlinux(_) | Image::Multiboot(_), _) => Entry::only(image.kind(), request)?,
        (Image::BzImage(image), Platform::X86(x86)) => {
            let seed = kaslr::seed(&command_line, random.kaslr);
            Entry::of_bzimage(image, request, x86.cpu, &command_line, seed, &unpacker)?
        }
        (Image::BzImage(_), Platform::Ppc64(_)) => return Err(PlanError::OtherImage.into()),
    };
    let unpacked = entry.vmlinux(&request.kernel)?;
    let kernel = match (&image, &unpacked) {
        (Image::Multiboot(image), _) => {
            Kernel::Program(Program::Multiboot { image, modules: &modules })
        }
        (Image::Vmlinux(vmlinux), _) => match elf_arguments(request, vmlinux, &facts) {
            Arguments::Linux => Kernel::Direct { header: None, vmlinux },
            Arguments::Program(arguments) => Kernel::Program(Program::Elf { vmlinux, arguments }),
        },
        (Image::BzImage(image), Some(vmlinux)) => Kernel::Direct { header: Some(image), vmlinux },
        (Image::BzImage(image), None) => Kernel::BzImage { image, entry_32bit: entry.entry_32bit },
    };
    effect::warn_of_kernel(request, &image, &kernel, report);
    if request.reuse_initrd && !words(&facts.command_line).any(|word| word == "retain_initrd") {
        return Err(LoadError::InitrdNotRetained);
    }
    let plan_request = plan::Request {
        target: request.target,
        kernel,
        initrd: initrd.as_deref().or(embedded.and_then(|embedded| embedded.initrd)),
        command_line: &command_line,
        options: options(request, entry.reason.clone(), device_tree, &facts, random, report),
    };
    let plan = progress::during("planning and digesting", |_| {
        plan::plan(&plan_request, &facts, &purgatory)
    })?;
    if !load::show_first(request, &Shown::KexecLoad(&plan), report)? {
        return Ok(());
    }
    let flags = flags(request.target, &plan_request.options, &facts);
    let situation = Situation::read(&request.sysroot, request.target);
    sys::kexec_load(plan.entry, &plan.segments, flags)
        .map_err(|error| Refused::new(error, request.target, situation))?;
    report.decision("loaded by kexec_load");
    Ok(())
}

/// What the ELF file is told. Without an option, a file with Linux's banner is Linux; so is what is
/// loaded with an initrd or for a panic, and every kernel on other machines than PCs.
fn elf_arguments(request: &Load, vmlinux: &Vmlinux<'_>, facts: &Facts) -> Arguments {
    let is_pc = matches!(facts.platform, Platform::X86(_));
    match request.arguments {
        Some(arguments) if is_pc => arguments,
        None if is_pc
            && request.target == Target::Reboot
            && request.initrd.is_none()
            && !vmlinux.has_linux_banner() =>
        {
            Arguments::Program(ElfArguments::Notes)
        }
        Some(_) | None => Arguments::Linux,
    }
}

fn device_tree(path: &Path) -> Result<DeviceTree, LoadError> {
    let file = InputFile::open(path)?;
    DeviceTree::parse(&file)
        .map_err(|source| LoadError::DeviceTree { path: path.to_owned(), source })
}

/// The command line that was asked for. On machines with a device tree: without one, a given
/// tree's; the running kernel's root= goes with it.
fn command_line(request: &Load, facts: &Facts, device_tree: Option<&DeviceTree>) -> String {
    let bootargs_count = matches!(facts.platform, Platform::Ppc64(_))
        && request.append.is_none()
        && !request.reuse_cmdline;
    let line = match device_tree {
        Some(tree) if bootargs_count => {
            let bootargs = tree.node("/chosen").map(|chosen| chosen.string("bootargs"));
            bootargs.and_then(Result::ok).flatten().unwrap_or_default().to_owned()
        }
        Some(_) | None => load::command_line(request, &facts.command_line),
    };
    match &facts.platform {
        Platform::Ppc64(_) if request.old_root => inherit_root(&line, &facts.command_line),
        Platform::Ppc64(_) | Platform::X86(_) => line,
    }
}

fn options(
    request: &Load,
    entry_reason: Option<String>,
    device_tree: Option<DeviceTree>,
    facts: &Facts,
    random: Random,
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
        core_class: request.core_class,
        hotplug: hotplug(request, facts, report),
        reuse_initrd: request.reuse_initrd,
        device_tree,
        kaslr_seed: random.kaslr,
        rng_seed: random.rng_seed,
        entry_reason,
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
#[derive(Clone, Copy)]
struct Random {
    kaslr: Option<Seed>,
    rng_seed: Option<[u8; 32]>,
}

impl Random {
    fn take() -> Self {
        let number = || random_bytes().map(u64::from_le_bytes);
        let kaslr = number().zip(number());
        Self {
            kaslr: kaslr.map(|(physical, virtual_64)| Seed { physical, virtual_64 }),
            rng_seed: random_bytes(),
        }
    }
}

fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    (read == Ok(N)).then_some(bytes)
}

fn flags(target: Target, options: &Options, facts: &Facts) -> LoadFlags {
    let hotplug = match facts.platform {
        // x86 takes this flag since 6.5; the newer one means the same there and is refused before
        // 6.10.
        Platform::X86(_) => LoadFlags::UPDATE_ELFCOREHDR,
        // The kernel updates the device tree too.
        Platform::Ppc64(_) => LoadFlags::CRASH_HOTPLUG_SUPPORT,
    };
    let mut flags = LoadFlags::of(target).on(facts.arch);
    flags.set(hotplug, options.hotplug);
    flags
}
