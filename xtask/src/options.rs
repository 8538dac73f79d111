//! The command line. docs/testing.md explains the commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use e2e::programs::{self, ARCHITECTURES};
use e2e::scenario::list::{ALL, Scenario};
use purgatorio::options::Arch;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job: a real kernel panics and comes back with its dump
    Demo,
    /// Run everything: format, lints, unit tests, builds, every end-to-end scenario
    Test(TestOptions),
    /// Run one end-to-end scenario with anything replaced
    E2e(Box<E2eOptions>),
    /// Measure ours and the peer's (Debian's kexec-tools) side by side, and print a table
    Bench {
        /// Only this architecture; repeatable [default: all]
        #[arg(long, value_name = "A")]
        arch: Vec<Arch>,
        /// Only what does not depend on how busy this machine is: leave out seconds and MB/s
        #[arg(long)]
        counts_only: bool,
        /// Only the dump writers, ours and makedumpfile, on this ELF core [default: that of a
        /// machine that is made to crash for it]
        #[arg(long, value_name = "CORE", num_args = 0..=1, conflicts_with_all = ["arch", "counts_only"])]
        dump: Option<Option<PathBuf>>,
        /// Write the figures here
        #[arg(long, value_name = "OUT")]
        json: Option<PathBuf>,
    },
    /// Write the README's table of what works where, from outcomes of `test`
    Report(ReportOptions),
    /// Give hostile input to every parser (docs/reliability.md)
    Fuzz(FuzzOptions),
    /// Build the static programs into target/dist/ARCH
    Dist {
        /// For which machine
        #[arg(long)]
        arch: Arch,
    },
    /// Make a Debian package of them in target/package
    Package {
        /// For which machine
        #[arg(long, default_value = "x86_64")]
        arch: Arch,
        /// Build everything a second time, from nothing, and fail unless it has the same bytes
        #[arg(long)]
        check: bool,
    },
}

/// Where the outcomes are.
#[derive(Debug, Args)]
pub struct ReportOptions {
    /// Outcomes that go to docs/results.json; later ones replace earlier ones of the same cell
    /// [default: target/e2e/results.json]
    #[arg(value_name = "FILE", conflicts_with = "kept")]
    results: Vec<PathBuf>,
    /// Take no new ones: use docs/results.json as it is
    #[arg(long)]
    kept: bool,
}

impl ReportOptions {
    /// The files with new outcomes.
    pub fn files(&self) -> Vec<PathBuf> {
        match self.results.as_slice() {
            [] if self.kept => Vec::new(),
            [] => vec![programs::target().join("e2e/results.json")],
            given => given.to_vec(),
        }
    }
}

/// What is fuzzed, and how long.
#[derive(Debug, Args)]
pub struct FuzzOptions {
    /// Only this target; repeatable [default: all]
    #[arg(long, value_name = "T")]
    pub target: Vec<String>,
    /// How long each runs, from what earlier runs found [default: as in `test`, a fixed number of
    /// inputs made from fuzz/seeds]
    #[arg(long, value_name = "S")]
    pub seconds: Option<u32>,
}

/// What `test` leaves out.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// Leave out the end-to-end scenarios
    #[arg(long)]
    pub no_e2e: bool,
    /// Leave out everything but the end-to-end scenarios
    #[arg(long)]
    pub only_e2e: bool,
    /// Only this architecture; repeatable [default: all]
    #[arg(long, value_name = "A")]
    pub arch: Vec<Arch>,
    /// Only this scenario; repeatable [default: all]
    #[arg(long, value_name = "S")]
    pub scenario: Vec<Scenario>,
    /// Machines to run at a time [default: the number of CPUs]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Write the outcomes of the scenarios here [default: target/e2e/results.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The architectures that were asked for: all, if none was.
pub fn these_or_all(archs: &[Arch]) -> Vec<purgatorio::facts::Arch> {
    match archs {
        [] => ARCHITECTURES.to_vec(),
        some => some.iter().map(|arch| (*arch).into()).collect(),
    }
}

impl TestOptions {
    /// The architectures to test.
    pub fn archs(&self) -> Vec<purgatorio::facts::Arch> {
        these_or_all(&self.arch)
    }

    /// The architectures whose programs it needs.
    pub fn needs(&self) -> Vec<purgatorio::facts::Arch> {
        let of = |arch| ALL.iter().flat_map(move |(_, scenario, _)| scenario.needs(arch));
        let needed: Vec<_> = self.archs().into_iter().flat_map(of).collect();
        ARCHITECTURES.into_iter().filter(|arch| needed.contains(arch)).collect()
    }
}

/// A cell of the test matrix.
#[derive(Debug, Args)]
pub struct E2eOptions {
    /// The machine's architecture
    #[arg(long, default_value = "x86_64")]
    pub arch: Arch,
    /// The first kernel: generic, cloud, 686-pae, bookworm, trixie (Debian's, fetched), big-endian
    /// (built), or a file [default: the architecture's first]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<String>,
    /// Its modules, …/lib/modules/RELEASE; needed with a file as --kernel
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// What to try
    #[arg(long, value_name = "S", default_value = "crash")]
    pub scenario: Scenario,
    /// How the kernel is made to panic
    #[arg(long, value_name = "T", default_value = "sysrq")]
    pub trigger: TriggerName,
    /// RAM in MiB
    #[arg(long, value_name = "M")]
    pub memory: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "N")]
    pub smp: Option<usize>,
    /// What the first kernel reserves; "none" reserves nothing
    #[arg(long, value_name = "C")]
    pub crashkernel: Option<String>,
    /// What starts the machine [default: bios; vof on ppc64]
    #[arg(long)]
    pub firmware: Option<FirmwareName>,
    /// QEMU's CPU model
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// One more argument for QEMU; repeatable
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub qemu_arg: Vec<String>,
    /// More words for the first kernel's command line
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Another kexec than ours: "peer" fetches Debian's kexec-tools
    #[arg(long, value_name = "PATH")]
    pub loader: Option<PathBuf>,
    /// One more option for the loader; repeatable
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub loader_arg: Vec<String>,
    /// Another kernel to load than the first one
    #[arg(long, value_name = "FILE")]
    pub capture_kernel: Option<PathBuf>,
    /// Do not count instructions: one boot instead of two
    #[arg(long)]
    pub no_instructions: bool,
    /// Write the outcome here [default: standard output]
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirmwareName {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
    /// QEMU's minimal Open Firmware.
    Vof,
    /// SLOF.
    Slof,
    /// OPAL, without a hypervisor.
    Opal,
}

/// How the kernel is made to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TriggerName {
    /// `c` to /proc/sysrq-trigger.
    Sysrq,
    /// Process 1 ends.
    InitExit,
    /// An NMI that nobody expects.
    Nmi,
    /// No memory is left, with vm.panic_on_oom=2.
    Oom,
}
