//! The options of `kexec`, defined once: the parser, `--help`, the man page and the shell
//! completions all come from [`definition`]. Names and meanings are kexec-tools' own (kexec(8)), so that scripts
//! written for it work unchanged.

use std::{ffi::OsString, num::ParseIntError, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, ValueEnum,
    error::ErrorKind, parser::ValueSource,
};

/// What was given on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "kexec",
    version = concat!("(purgatorio) ", env!("CARGO_PKG_VERSION")),
    about = "Start another kernel from the running one, now or when it panics",
    after_help = "Exit status: 0 success; 1 usage error or fatal error; 253 -s is not available; \
254 no memory is reserved for a crash kernel; 255 the kernel could not be loaded, unloaded or \
started. -S: 1 loaded, 0 not loaded, 255 unknown.",
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = true
)]
pub struct Options {
    /// Kernel to load: a bzImage, an ELF file, a Multiboot kernel or a powerpc zImage, also
    /// compressed as a whole, or in a unified kernel image (UKI).
    /// Without an action: load it, then run shutdown -r now
    #[arg(value_name = "KERNEL")]
    pub kernel: Option<PathBuf>,

    /// Load the kernel; it starts with -e or with the next reboot
    #[arg(short, long, help_heading = ACTIONS)]
    pub load: bool,

    /// Load the kernel that starts when this one panics
    #[arg(short = 'p', long, help_heading = ACTIONS)]
    pub load_panic: bool,

    /// Unload the kernel; with -p the one for a panic
    #[arg(short, long, help_heading = ACTIONS)]
    pub unload: bool,

    /// Start the loaded kernel at once, without shutdown(8)
    #[arg(short, long, help_heading = ACTIONS)]
    pub exec: bool,

    /// Load the kernel and start it at once, without shutdown(8)
    #[arg(short, long, help_heading = ACTIONS)]
    pub force: bool,

    /// Unpack the kernel and keep it in /var/cache/purgatorio for later loads, which then are as
    /// cheap as that of an unpacked kernel; load nothing
    #[arg(long, help_heading = ACTIONS)]
    pub prepare: bool,

    /// Say by the exit status whether a kernel for a panic (with -l: for a reboot) is loaded
    #[arg(short = 'S', long, help_heading = ACTIONS)]
    pub status: bool,

    /// Print the size of the memory reserved for a crash kernel, in bytes
    #[arg(long, help_heading = ACTIONS)]
    pub print_ckr_size: bool,

    /// Show what would be loaded and load nothing; needs no privileges with --sysroot
    #[arg(long, help_heading = ACTIONS)]
    pub dry_run: bool,

    /// Command line of the next kernel, also in place of the one in a UKI
    #[arg(
        long,
        visible_alias = "command-line",
        value_name = "STRING",
        allow_hyphen_values = true,
        help_heading = WHAT
    )]
    pub append: Option<String>,

    /// Start with the running kernel's command line, without BOOT_IMAGE= (and crashkernel= with -p)
    #[arg(long, help_heading = WHAT)]
    pub reuse_cmdline: bool,

    /// Initial RAM disk of the next kernel, also in place of the one in a UKI
    #[arg(long, visible_alias = "ramdisk", value_name = "FILE", help_heading = WHAT)]
    pub initrd: Option<PathBuf>,

    /// On ppc64: pass the initrd that the running kernel was started with, which it must have kept
    /// (retain_initrd on its command line)
    #[arg(long = "reuseinitrd", conflicts_with = "initrd", help_heading = WHAT)]
    pub reuse_initrd: bool,

    /// Flattened device tree for the next kernel; on ppc64 in place of the running kernel's, on PCs
    /// beside what the firmware tells (SETUP_DTB)
    #[arg(
        long,
        visible_alias = "devicetreeblob",
        value_name = "FILE",
        help_heading = WHAT
    )]
    pub dtb: Option<PathBuf>,

    /// On ppc64: do not pass the running kernel's root= on where the command line has none
    #[arg(long, help_heading = WHAT)]
    pub dt_no_old_root: bool,

    /// Take the kernel's file as this type, and as nothing else that it might be too
    #[arg(short = 't', long = "type", value_name = "TYPE", help_heading = WHAT)]
    pub image_type: Option<ImageType>,

    /// For a Multiboot kernel on PCs: load this file beside it; the kernel reads all of the text.
    /// Repeatable
    #[arg(long = "module", value_name = "FILE ARGUMENTS", help_heading = WHAT)]
    pub modules: Vec<String>,

    /// On PCs: the ELF file is Linux, start it with boot_params (default if it has Linux's banner,
    /// and with -p)
    #[arg(long, overrides_with_all = ["args_elf", "args_none"], help_heading = WHAT)]
    pub args_linux: bool,

    /// On PCs: start the ELF file with ELF boot notes (default if it is not Linux)
    #[arg(long, overrides_with_all = ["args_linux", "args_none"], help_heading = WHAT)]
    pub args_elf: bool,

    /// On PCs: start the ELF file without telling it anything
    #[arg(long, overrides_with_all = ["args_linux", "args_elf"], help_heading = WHAT)]
    pub args_none: bool,

    /// Which code of a bzImage runs first
    #[arg(
        long,
        value_name = "MODE",
        default_value = "auto",
        conflicts_with = "entry_32bit",
        help_heading = WHAT
    )]
    pub entry_mode: EntryMode,

    /// Enter a bzImage by its 32-bit entry point
    #[arg(long, help_heading = WHAT)]
    pub entry_32bit: bool,

    /// Load nothing below this physical address
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = WHAT)]
    pub mem_min: Option<u64>,

    /// Load nothing above this physical address
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = WHAT)]
    pub mem_max: Option<u64>,

    /// On PCs, with -p: describe the usable memory by memmap= on the command line as well
    #[arg(long, help_heading = WHAT)]
    pub pass_memmap_cmdline: bool,

    /// On PCs: hand on the running kernel's video mode, which is always done
    #[arg(long, help_heading = WHAT)]
    pub reuse_video_type: bool,

    /// On PCs: do not hand the EFI runtime services on
    #[arg(long, help_heading = WHAT)]
    pub noefi: bool,

    /// On PCs, with -p: write the core headers as ELF-32, for memory below 4 GiB
    #[arg(long, overrides_with = "elf64_core_headers", help_heading = WHAT)]
    pub elf32_core_headers: bool,

    /// With -p: write the core headers as ELF-64, also on a 32-bit machine
    #[arg(long, overrides_with = "elf32_core_headers", help_heading = WHAT)]
    pub elf64_core_headers: bool,

    /// With -p: let the running kernel follow CPU and memory hotplug in the core headers
    #[arg(long, help_heading = WHAT)]
    pub hotplug: bool,

    /// Use kexec_load only
    #[arg(
        short = 'c',
        long,
        overrides_with_all = ["kexec_file_syscall", "kexec_syscall_auto"],
        help_heading = SYSCALL
    )]
    pub kexec_syscall: bool,

    /// Use kexec_file_load only: the running kernel checks the signature and makes the plan
    #[arg(
        short = 's',
        long,
        overrides_with_all = ["kexec_syscall", "kexec_syscall_auto"],
        help_heading = SYSCALL
    )]
    pub kexec_file_syscall: bool,

    /// Use kexec_load, or kexec_file_load where only that is allowed (default)
    #[arg(
        short = 'a',
        long,
        overrides_with_all = ["kexec_syscall", "kexec_file_syscall"],
        help_heading = SYSCALL
    )]
    pub kexec_syscall_auto: bool,

    /// With kexec_file_load: keep the segments out of CMA memory
    #[arg(long, help_heading = SYSCALL)]
    pub no_cma: bool,

    /// Do not verify by SHA-256 what was loaded before the next kernel starts
    #[arg(short = 'i', long, help_heading = PURGATORY)]
    pub no_checks: bool,

    /// What to do when what was loaded has been damaged
    #[arg(long, value_name = "POLICY", default_value = "reset", help_heading = PURGATORY)]
    pub on_mismatch: OnMismatch,

    /// On PCs: report on this UART: ttyS0, ttyS1 or an I/O port (0x3f8)
    #[arg(long, value_name = "PORT", value_parser = serial_port, help_heading = PURGATORY)]
    pub serial: Option<u16>,

    /// On PCs: program this baud rate into the UART instead of keeping the running kernel's
    #[arg(
        long,
        value_name = "BAUD",
        value_parser = clap::value_parser!(u32).range(1..=115_200),
        help_heading = PURGATORY
    )]
    pub serial_baud: Option<u32>,

    /// On PCs: report on a UART (ttyS0 unless --serial names one)
    #[arg(long, help_heading = PURGATORY)]
    pub console_serial: bool,

    /// On PCs: report on the VGA text screen
    #[arg(long, help_heading = PURGATORY)]
    pub console_vga: bool,

    /// On PCs: put the VGA back into text mode first
    #[arg(long, help_heading = PURGATORY)]
    pub reset_vga: bool,

    /// With -e or -f: leave the network interfaces up
    #[arg(short = 'x', long, help_heading = START)]
    pub no_ifdown: bool,

    /// With -e or -f: do not write the file systems' buffers to disk
    #[arg(short = 'y', long, help_heading = START)]
    pub no_sync: bool,

    /// Form of the plan that --dry-run and -d show
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = INFORMATION)]
    pub format: Format,

    /// Architecture of the machine to plan for with --dry-run; default: this machine's
    #[arg(long, value_name = "ARCH", help_heading = INFORMATION)]
    pub arch: Option<Arch>,

    /// Read the machine's facts from DIR/proc and DIR/sys (with --dry-run, -S, --print-ckr-size)
    #[arg(long, value_name = "DIR", help_heading = INFORMATION)]
    pub sysroot: Option<PathBuf>,

    /// Show the plan and say what was decided and why
    #[arg(short, long, help_heading = INFORMATION)]
    pub debug: bool,

    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version, help_heading = INFORMATION)]
    version: Option<bool>,
}

const ACTIONS: &str = "Actions";
const WHAT: &str = "What is loaded";
const SYSCALL: &str = "System call";
const PURGATORY: &str = "Purgatory, which runs between the two kernels";
const START: &str = "Start";
const INFORMATION: &str = "Information";

/// Types of kernel files; kexec-tools' names for them are known too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImageType {
    /// Linux/x86 boot protocol, 64-bit or 32-bit entry
    #[value(name = "bzImage", alias = "bzImage64")]
    BzImage,
    /// ELF: Linux's vmlinux, or another program
    #[value(name = "vmlinux", aliases = ["elf-x86_64", "elf-x86", "elf-ppc64"])]
    Vmlinux,
    /// Multiboot, version 1
    #[value(name = "multiboot", alias = "multiboot-x86")]
    Multiboot,
    /// Unified kernel image
    Uki,
    /// Multiboot2
    #[value(name = "multiboot2", alias = "multiboot2-x86")]
    Multiboot2,
}

/// See `--entry-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EntryMode {
    /// direct with -p, where every second counts; bzimage otherwise, where the decompressor
    /// randomizes the kernel's address
    Auto,
    /// Unpack the kernel now and enter it directly: no decompressor runs
    Direct,
    /// Let the bzImage unpack itself
    Bzimage,
}

/// See `--on-mismatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnMismatch {
    /// Reset the machine: it returns to service without a dump
    Reset,
    /// Stop, with the message still on the screen
    Halt,
    /// Say so and start the kernel anyway
    Ignore,
}

/// See `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// See `--arch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// 64-bit x86
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    /// 32-bit x86
    #[value(name = "i386", alias = "i686")]
    I386,
    /// 64-bit POWER, little-endian
    #[value(name = "ppc64le", alias = "ppc64el")]
    Ppc64le,
    /// 64-bit POWER, big-endian
    #[value(name = "ppc64")]
    Ppc64,
}

impl From<Arch> for crate::facts::Arch {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::X86_64,
            Arch::I386 => Self::I386,
            Arch::Ppc64le => Self::Ppc64le,
            Arch::Ppc64 => Self::Ppc64,
        }
    }
}

/// Options of kexec-tools that are not there yet, and whether they take a value. They are known
/// so that the message can say so, and so that none of them is ever silently ignored.
const NOT_SUPPORTED_YET: &[(&str, bool)] = &[
    ("entry", true),
    ("exec-live-update", false),
    ("force-dtb", false),
    ("load-jump-back-helper", false),
    ("load-live-update", false),
    ("load-preserve-context", false),
    ("real-mode", false),
];

/// The long names of the options that were given, for warnings about those without effect.
pub type Given = Vec<String>;

/// The definition of all options.
pub fn definition() -> Command {
    Options::command()
}

/// The definition with those that are not there yet, which no help, page or completion offers.
fn parser() -> Command {
    definition().args(NOT_SUPPORTED_YET.iter().map(|&(name, takes_value)| {
        let action = if takes_value { ArgAction::Set } else { ArgAction::SetTrue };
        Arg::new(name).long(name).action(action).hide(true)
    }))
}

/// Reads the command line (`args` with the program's name first).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Options, Given), clap::Error> {
    let matches = parser().try_get_matches_from(args)?;
    if let Some((name, _)) = NOT_SUPPORTED_YET.iter().find(|(name, _)| is_given(&matches, name)) {
        let message = format!("--{name} is not supported yet by this version of kexec\n");
        return Err(clap::Error::raw(ErrorKind::UnknownArgument, message));
    }
    let given = definition()
        .get_arguments()
        .filter(|argument| is_given(&matches, argument.get_id().as_str()))
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect();
    Ok((Options::from_arg_matches(&matches)?, given))
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    // `help` and `version` end the parsing; they have no value that could be asked for.
    matches.ids().any(|known| known == id)
        && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// A physical address as strtoul(3) reads it: hexadecimal, octal or decimal.
fn address(text: &str) -> Result<u64, ParseIntError> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8)
    } else {
        text.parse()
    }
}

/// The value of `--serial` names no UART.
#[derive(Debug, thiserror::Error)]
#[error("a UART is ttyS0, ttyS1 or the number of its first I/O port, such as 0x3f8")]
struct SerialPortError;

fn serial_port(text: &str) -> Result<u16, SerialPortError> {
    match text {
        "ttyS0" => Ok(0x3f8),
        "ttyS1" => Ok(0x2f8),
        _ => address(text)
            .ok()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port != 0)
            .ok_or(SerialPortError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<(Options, Given), clap::Error> {
        parse(std::iter::once("kexec").chain(words.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        parser().debug_assert();
    }

    #[test]
    fn the_last_of_the_system_call_options_counts() {
        let (options, _) = parse_words("-s -c -l k").unwrap();
        assert!(options.kexec_syscall && !options.kexec_file_syscall);
        let (options, _) = parse_words("-cals k").unwrap();
        assert!(options.kexec_file_syscall && !options.kexec_syscall);
    }

    #[test]
    fn the_last_class_of_core_headers_counts() {
        let (options, _) = parse_words("-p k --elf32-core-headers --elf64-core-headers").unwrap();
        assert!(options.elf64_core_headers && !options.elf32_core_headers);
    }

    #[test]
    fn an_option_may_be_repeated_abbreviated_and_have_an_alias() {
        let (options, given) =
            parse_words("-l -l --command-line=a --append b --ramd=r k --reset").unwrap();
        assert_eq!(options.append.as_deref(), Some("b"));
        assert_eq!(options.initrd, Some(PathBuf::from("r")));
        assert!(options.reset_vga);
        assert_eq!(given, ["load", "append", "initrd", "reset-vga"]);
    }

    #[test]
    fn a_command_line_may_start_with_a_hyphen() {
        let (options, _) = parse_words("-l k --append -s").unwrap();
        assert_eq!(options.append.as_deref(), Some("-s"));
        assert!(!options.kexec_file_syscall);
    }

    #[test]
    fn options_that_are_not_there_yet_are_refused_by_name() {
        for (name, takes_value) in NOT_SUPPORTED_YET {
            let value = if *takes_value { "=x" } else { "" };
            let error = parse_words(&format!("-l k --{name}{value}")).unwrap_err();
            assert!(error.to_string().contains(&format!("--{name} is not supported")), "{error}");
        }
    }

    #[test]
    fn addresses_are_read_as_the_c_library_does() {
        assert_eq!(address("0x100000"), Ok(0x10_0000));
        assert_eq!(address("4096"), Ok(4096));
        assert_eq!(address("010"), Ok(8));
        assert_eq!(address("0"), Ok(0));
        assert!(address("zz").is_err());
        assert!(address("-1").is_err());
        assert!(address("0x1ffffffffffffffff").is_err());
    }

    #[test]
    fn a_serial_port_has_a_name_or_a_number() {
        assert_eq!(serial_port("ttyS1").unwrap(), 0x2f8);
        assert_eq!(serial_port("0x3e8").unwrap(), 0x3e8);
        assert!(serial_port("ttyS9").is_err());
        assert!(serial_port("0").is_err());
        assert!(serial_port("0x10000").is_err());
    }
}
