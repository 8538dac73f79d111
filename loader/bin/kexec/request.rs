//! What was asked for, checked: one action with all it needs. The order of the options does not
//! matter.

use std::path::PathBuf;

use purgatorio::{
    elfcore::Class,
    facts::Arch,
    machine::Sysroot,
    options::{EntryMode, Format, ImageType, OnMismatch, Options},
    plan::{ElfArguments, Target},
    sys,
};

use crate::console::ConsoleWish;

/// One action.
#[derive(Debug)]
pub enum Request {
    /// `-S`
    Status { target: Target, sysroot: Sysroot },
    /// `--print-ckr-size`
    CrashSize { sysroot: Sysroot },
    /// `-u`
    Unload { target: Target, method: Method },
    /// `-e`
    Execute(Departure),
    /// `--prepare`
    Prepare { kernel: PathBuf },
    /// Everything else
    Load(Load),
}

/// A kernel to load.
#[derive(Debug)]
pub struct Load {
    /// What it is for.
    pub target: Target,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The only type of kernel file that is welcome.
    pub image_type: Option<ImageType>,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// Whether the next kernel gets the running one's initrd.
    pub reuse_initrd: bool,
    /// Files to load beside a Multiboot kernel, each with what the kernel reads about it.
    pub modules: Vec<String>,
    /// What an ELF file is told; `None`: what its content suggests.
    pub arguments: Option<Arguments>,
    /// The flattened device tree's file.
    pub dtb: Option<PathBuf>,
    /// Whether the running kernel's root= is passed on, on machines where that is usual.
    pub old_root: bool,
    /// `--append`
    pub append: Option<String>,
    /// Whether the command line starts with the running kernel's.
    pub reuse_cmdline: bool,
    /// Which system call.
    pub method: Method,
    /// Which code runs first.
    pub entry: EntryMode,
    /// Whether that is a bzImage's 32-bit entry.
    pub entry_32bit: bool,
    /// Lowest physical address for segments.
    pub mem_min: u64,
    /// Highest physical address for segments.
    pub mem_max: u64,
    /// Whether the usable memory is on the command line too.
    pub pass_memmap_cmdline: bool,
    /// Whether the next kernel gets the EFI runtime services.
    pub efi: bool,
    /// Class of the core headers; `None`: what suits the machine.
    pub core_class: Option<Class>,
    /// Whether the running kernel updates the core headers on hotplug.
    pub hotplug: bool,
    /// Whether segments stay out of CMA memory.
    pub no_cma: bool,
    /// Whether purgatory verifies the segments.
    pub verify: bool,
    /// What purgatory does when one is damaged.
    pub on_mismatch: OnMismatch,
    /// Where purgatory reports.
    pub console: ConsoleWish,
    /// The machine to plan for.
    pub arch: Arch,
    /// Where the machine's facts are read.
    pub sysroot: Sysroot,
    /// Form of the plan that is shown.
    pub format: Format,
    /// What follows the load.
    pub then: Then,
}

/// What an ELF file on a PC is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// boot_params: it is Linux.
    Linux,
    /// ELF boot notes or nothing: it is not.
    Program(ElfArguments),
}

/// What follows a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing, and the load itself does not happen: the plan is shown (`--dry-run`).
    OnlyShow,
    /// Nothing.
    Return,
    /// The new kernel starts at once (`-f`).
    Execute(Departure),
    /// The system shuts down in an orderly way, which ends in the new kernel.
    ShutDown,
}

/// How the running system is left by `-e` and `-f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Write the file systems' buffers to disk.
    pub sync: bool,
    /// Bring the network interfaces down.
    pub ifdown: bool,
}

/// Which system call loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// kexec_load, or kexec_file_load where only that is allowed.
    Auto,
    /// kexec_load
    KexecLoad,
    /// kexec_file_load
    KexecFileLoad,
}

/// The options contradict each other, or one is missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No kernel file.
    #[error("no kernel file was given")]
    NoKernel,
    /// Two actions that exclude each other.
    #[error("{0} and {1} cannot be combined")]
    Conflict(&'static str, &'static str),
    /// `-e` would not load the kernel, `-l` would not start it.
    #[error("-e starts what is loaded already, it does not load; -f loads a kernel and starts it")]
    ExecDoesNotLoad,
    /// Facts of another machine, and a load into this one.
    #[error("--sysroot describes another machine: it needs --dry-run, -S or --print-ckr-size")]
    SysrootIsNotThisMachine,
    /// A plan for another machine, and a load into this one.
    #[error("--arch={0} is another machine than this one: it needs --dry-run")]
    ArchIsNotThisMachine(Arch),
    /// A machine that this program does not know.
    #[error("{0} machines are not known; --arch names another one for --dry-run")]
    UnknownMachine(String),
    /// An option for machines with a device tree, without which the next kernel would not be what
    /// was asked for.
    #[error("{0} is not supported on {1} machines")]
    NotOnThisMachine(&'static str, Arch),
    /// No address is left.
    #[error("--mem-min={min:#x} is above --mem-max={max:#x}")]
    NoAddress { min: u64, max: u64 },
}

impl Request {
    /// Decides what the options ask for.
    pub fn new(options: Options) -> Result<Self, RequestError> {
        let target = if options.load_panic { Target::Crash } else { Target::Reboot };
        let reads_only = options.dry_run || options.status || options.print_ckr_size;
        if options.sysroot.is_some() && !reads_only {
            return Err(RequestError::SysrootIsNotThisMachine);
        }
        if options.status {
            // Without -l the question is about the crash kernel.
            let target =
                if options.load && !options.load_panic { Target::Reboot } else { Target::Crash };
            return Ok(Self::Status { target, sysroot: sysroot(&options) });
        }
        if options.print_ckr_size {
            return Ok(Self::CrashSize { sysroot: sysroot(&options) });
        }
        if options.prepare {
            check_alone("--prepare", &options)?;
            let kernel = options.kernel.ok_or(RequestError::NoKernel)?;
            return Ok(Self::Prepare { kernel });
        }
        if options.unload {
            check_alone("--unload", &options)?;
            return Ok(Self::Unload { target, method: method(&options) });
        }
        if options.exec && !(options.force && options.kernel.is_some()) {
            if options.dry_run {
                return Err(RequestError::Conflict("--exec", "--dry-run"));
            }
            if options.load || options.load_panic {
                return Err(RequestError::ExecDoesNotLoad);
            }
            return Ok(Self::Execute(departure(&options)));
        }
        if options.force && options.load_panic {
            return Err(RequestError::Conflict("--force", "--load-panic"));
        }
        Load::new(options, target).map(Self::Load)
    }
}

impl Load {
    fn new(options: Options, target: Target) -> Result<Self, RequestError> {
        let mem_min = options.mem_min.unwrap_or(0);
        let mem_max = options.mem_max.unwrap_or(u64::MAX).min(highest_address(&options));
        if mem_min > mem_max {
            return Err(RequestError::NoAddress { min: mem_min, max: mem_max });
        }
        let arch = arch(&options)?;
        check_reused_initrd(&options, arch)?;
        let sysroot = sysroot(&options);
        let then = if options.dry_run {
            Then::OnlyShow
        } else if options.force {
            Then::Execute(departure(&options))
        } else if options.load || options.load_panic {
            Then::Return
        } else {
            Then::ShutDown
        };
        Ok(Self {
            target,
            method: method(&options),
            console: ConsoleWish::new(&options),
            kernel: options.kernel.ok_or(RequestError::NoKernel)?,
            image_type: options.image_type,
            initrd: options.initrd,
            reuse_initrd: options.reuse_initrd,
            modules: options.modules,
            arguments: match (options.args_linux, options.args_elf, options.args_none) {
                (true, _, _) => Some(Arguments::Linux),
                (_, true, _) => Some(Arguments::Program(ElfArguments::Notes)),
                (_, _, true) => Some(Arguments::Program(ElfArguments::None)),
                (false, false, false) => None,
            },
            dtb: options.dtb,
            old_root: !options.dt_no_old_root,
            append: options.append,
            reuse_cmdline: options.reuse_cmdline,
            entry: options.entry_mode,
            entry_32bit: options.entry_32bit,
            mem_min,
            mem_max,
            pass_memmap_cmdline: options.pass_memmap_cmdline,
            efi: !options.noefi,
            core_class: match (options.elf32_core_headers, options.elf64_core_headers) {
                (true, _) => Some(Class::Elf32),
                (_, true) => Some(Class::Elf64),
                (false, false) => None,
            },
            hotplug: options.hotplug,
            no_cma: options.no_cma,
            verify: !options.no_checks,
            on_mismatch: options.on_mismatch,
            arch,
            sysroot,
            format: options.format,
            then,
        })
    }
}

/// The machine to plan for: this one, unless nothing is loaded into it.
fn arch(options: &Options) -> Result<Arch, RequestError> {
    match (options.arch.map(Arch::from), sys::running_arch()) {
        (None, Ok(running)) => Ok(running),
        (None, Err(machine)) => Err(RequestError::UnknownMachine(machine)),
        (Some(arch), running) if options.dry_run || running == Ok(arch) => Ok(arch),
        (Some(arch), _) => Err(RequestError::ArchIsNotThisMachine(arch)),
    }
}

/// The highest address that a segment may have: kexec_load takes addresses of the size of this
/// program's own, and a 32-bit program on a 64-bit kernel cannot name more. Nothing limits a plan for
/// another machine.
fn highest_address(options: &Options) -> u64 {
    if options.sysroot.is_some() { u64::MAX } else { usize::MAX as u64 }
}

/// A PC's kernel does not say where its initrd was.
fn check_reused_initrd(options: &Options, arch: Arch) -> Result<(), RequestError> {
    match arch {
        Arch::X86_64 | Arch::I386 if options.reuse_initrd => {
            Err(RequestError::NotOnThisMachine("--reuseinitrd", arch))
        }
        Arch::X86_64 | Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => Ok(()),
    }
}

/// `action` goes with neither of the others; `-u` goes with `-p` and `-l`, which say what to unload.
fn check_alone(action: &'static str, options: &Options) -> Result<(), RequestError> {
    let prepare = options.prepare;
    let others = [
        (options.exec, "--exec"),
        (options.force, "--force"),
        (options.dry_run, "--dry-run"),
        (prepare && options.unload, "--unload"),
        (prepare && options.load, "--load"),
        (prepare && options.load_panic, "--load-panic"),
    ];
    match others.iter().find(|(given, _)| *given) {
        Some(&(_, other)) => Err(RequestError::Conflict(action, other)),
        None => Ok(()),
    }
}

fn method(options: &Options) -> Method {
    // The options override each other on the command line: at most one of them is left.
    match (options.kexec_syscall, options.kexec_file_syscall) {
        (true, _) => Method::KexecLoad,
        (_, true) => Method::KexecFileLoad,
        (false, false) => Method::Auto,
    }
}

fn sysroot(options: &Options) -> Sysroot {
    options.sysroot.as_deref().map_or_else(Sysroot::live, Sysroot::at)
}

fn departure(options: &Options) -> Departure {
    Departure { sync: !options.no_sync, ifdown: !options.no_ifdown }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use purgatorio::options;

    use super::*;

    fn request(words: &str) -> Result<Request, RequestError> {
        let words = std::iter::once("kexec").chain(words.split_whitespace()).map(OsString::from);
        Request::new(options::parse(words).expect("the words are valid options").0)
    }

    fn load(words: &str) -> Load {
        match request(words) {
            Ok(Request::Load(load)) => load,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_order_of_options_does_not_matter() {
        for words in ["-p -u", "-u -p", "-s -p -u", "-pu"] {
            let request = request(words);
            assert!(
                matches!(request, Ok(Request::Unload { target: Target::Crash, .. })),
                "{words}"
            );
        }
        for words in ["-p -l k", "-l -p k", "k -p"] {
            assert_eq!(load(words).target, Target::Crash, "{words}");
            assert_eq!(load(words).then, Then::Return, "{words}");
        }
        for words in ["-l -f k", "-f -l k", "-e -f k", "-f -e k"] {
            assert!(matches!(load(words).then, Then::Execute(_)), "{words}");
        }
    }

    #[test]
    fn without_an_action_the_load_ends_in_a_shutdown() {
        assert_eq!(load("k").then, Then::ShutDown);
        assert_eq!(load("-l k").then, Then::Return);
    }

    #[test]
    fn a_dry_run_never_does_anything_else() {
        for words in ["--dry-run k", "--dry-run -l k", "--dry-run -f k", "--dry-run -p k"] {
            assert_eq!(load(words).then, Then::OnlyShow, "{words}");
        }
        for words in ["--dry-run -e", "--dry-run -u", "-e -f --dry-run", "-u -p --dry-run"] {
            assert!(
                matches!(request(words), Err(RequestError::Conflict(_, "--dry-run"))),
                "{words}"
            );
        }
    }

    #[test]
    fn status_asks_for_the_crash_kernel_unless_told() {
        let target = |words| match request(words) {
            Ok(Request::Status { target, .. }) => target,
            other => panic!("{words}: {other:?}"),
        };
        assert_eq!(target("-S"), Target::Crash);
        assert_eq!(target("-l -S"), Target::Reboot);
        assert_eq!(target("-S -p -l"), Target::Crash);
        // Status supersedes every other action.
        assert_eq!(target("-S -e"), Target::Crash);
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(request("-l").unwrap_err(), RequestError::NoKernel);
        assert_eq!(request("-l -e k").unwrap_err(), RequestError::ExecDoesNotLoad);
        assert_eq!(request("-p -e").unwrap_err(), RequestError::ExecDoesNotLoad);
        assert!(matches!(request("-u -e").unwrap_err(), RequestError::Conflict(..)));
        assert!(matches!(request("-p -f k").unwrap_err(), RequestError::Conflict(..)));
        assert_eq!(
            request("-p k --sysroot=/x").unwrap_err(),
            RequestError::SysrootIsNotThisMachine
        );
        assert_eq!(request("-e --sysroot=/x").unwrap_err(), RequestError::SysrootIsNotThisMachine);
        assert_eq!(
            request("-l k --mem-min=2 --mem-max=1").unwrap_err(),
            RequestError::NoAddress { min: 2, max: 1 }
        );
    }

    #[test]
    fn preparing_loads_nothing() {
        assert!(matches!(request("--prepare k"), Ok(Request::Prepare { .. })));
        assert_eq!(request("--prepare").unwrap_err(), RequestError::NoKernel);
        for words in ["-p", "-l", "-f", "-e", "-u", "--dry-run"] {
            let error = request(&format!("--prepare k {words}")).unwrap_err();
            assert!(matches!(error, RequestError::Conflict(..)), "{words}: {error}");
        }
    }

    #[test]
    fn another_architecture_is_only_for_a_dry_run() {
        let (other, name) = match sys::running_arch() {
            Ok(Arch::Ppc64) => (Arch::X86_64, "x86_64"),
            Ok(_) | Err(_) => (Arch::Ppc64, "ppc64"),
        };
        assert_eq!(load(&format!("--dry-run k --arch={name}")).arch, other);
        let error = request(&format!("-l k --arch={name}")).unwrap_err();
        assert_eq!(error, RequestError::ArchIsNotThisMachine(other));
        assert_eq!(Ok(load("-l k").arch), sys::running_arch());
    }

    #[test]
    fn a_pc_s_initrd_cannot_be_reused() {
        assert_eq!(
            request("-l k --arch=x86_64 --dry-run --reuseinitrd").unwrap_err(),
            RequestError::NotOnThisMachine("--reuseinitrd", Arch::X86_64)
        );
        assert!(request("-l k --arch=x86_64 --dry-run --dtb=f").is_ok());
        assert!(request("-l k --arch=ppc64 --dry-run --reuseinitrd").is_ok());
    }

    #[test]
    fn departure_can_skip_its_steps() {
        assert!(matches!(
            request("-e -x -y"),
            Ok(Request::Execute(Departure { sync: false, ifdown: false }))
        ));
        assert!(matches!(
            request("-e"),
            Ok(Request::Execute(Departure { sync: true, ifdown: true }))
        ));
    }
}
