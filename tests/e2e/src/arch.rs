//! What differs from machine to machine, in one place: QEMU's programs and machines, consoles,
//! sizes, and what a dump of each must look like.

use object::Endianness;
use purgatorio::facts::Arch;

use crate::debian::Suite;

/// What starts a machine; it stands for QEMU's machine as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareKind {
    /// SeaBIOS on a PC.
    Bios,
    /// OVMF on a PC.
    Uefi,
    /// OVMF on a PC, with Secure Boot enforced.
    SecureBoot,
    /// QEMU's own minimal Open Firmware (docs/system/ppc/pseries.rst) on a pSeries guest: the
    /// kernel starts seconds earlier than with SLOF.
    Vof,
    /// SLOF on a pSeries guest, as QEMU's users have it.
    Slof,
    /// OPAL (skiboot) on a machine without a hypervisor.
    Opal,
}

impl FirmwareKind {
    /// The machine that it starts, as reports name it.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Bios | Self::Uefi | Self::SecureBoot => "q35",
            Self::Vof | Self::Slof => "pseries",
            Self::Opal => "powernv",
        }
    }

    /// QEMU's `-machine`.
    pub(crate) fn qemu_machine(self) -> &'static str {
        match self {
            Self::Bios | Self::Uefi => "q35",
            // Only firmware in system management mode may write the variables.
            Self::SecureBoot => "q35,smm=on",
            Self::Vof => "pseries,x-vof=on",
            Self::Slof => "pseries",
            Self::Opal => "powernv9",
        }
    }

    /// The PCI bus for the disk, where it is not the only one.
    pub(crate) fn disk_bus(self) -> Option<&'static str> {
        // Behind the root port that `devices` adds.
        (self == Self::Opal).then_some("port0")
    }

    /// Devices and properties without which the machine can neither reset nor power off nor have a disk.
    pub(crate) fn devices(self) -> &'static [&'static str] {
        match self {
            Self::Bios | Self::Uefi | Self::Vof | Self::Slof => &[],
            Self::SecureBoot => &["-global", "driver=cfi.pflash01,property=secure,value=on"],
            Self::Opal => &[
                "-device",
                "ipmi-bmc-sim,id=bmc",
                "-device",
                "isa-ipmi-bt,bmc=bmc,irq=10",
                "-device",
                "pnv-phb,chip-id=0,index=0,id=phb0",
                "-device",
                "pnv-phb-root-port,bus=phb0,id=port0",
            ],
        }
    }
}

/// The low memory that purgatory copies to the backup region before the next kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowMemory {
    /// Its size; it starts at 0.
    pub size: u64,
    /// How much of it a dump has at least: firmware keeps the rest.
    pub least: u64,
    /// How many bytes at its start belong to no kernel any more: on ppc64 the crashing kernel puts
    /// purgatory's start there, which its other CPUs go on to run and to write to.
    pub given_up: u64,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The package that a metapackage of Debian's stands for.
    Debian(Suite, &'static str),
    /// Built here, because Debian has none.
    Built,
}

/// The architecture's usual machine, and what its kernels and dumps are like.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its kernels by label; the first one is the usual one.
    pub kernels: &'static [(&'static str, Origin)],
    /// QEMU's program.
    pub qemu: &'static str,
    /// What starts the usual machine.
    pub firmware: FirmwareKind,
    /// QEMU's CPU model.
    pub cpu: &'static str,
    /// RAM in MiB: small, because a dump is saved and digested in the guest.
    pub memory: u64,
    /// What the first kernel reserves.
    pub crashkernel: &'static str,
    /// The kernel's console device.
    pub console: &'static str,
    /// What makes the kernel print its lines from the first one on; empty where it does so unasked.
    pub early_console: &'static str,
    /// Whether kernels go to random addresses unless told `nokaslr`.
    pub kaslr: bool,
    /// Whether a capture kernel may bring up more than one CPU. (On x86 the boot CPU of the first
    /// kernel may not be reset: kernel 6.1 Documentation/admin-guide/kdump/kdump.rst.)
    pub smp_capture: bool,
    /// What purgatory saves.
    pub low_memory: LowMemory,
    /// Byte order of memory and of dumps.
    pub endian: Endianness,
    /// readelf's name of the machine.
    pub elf_machine: &'static str,
    /// Number of the program counter among the registers of QEMU's gdbstub (its gdb-xml).
    pub program_counter: u32,
    /// Code that raises an exception on every CPU of this machine.
    pub illegal_instruction: &'static [u8],
    /// gdb, in the build that knows the machine.
    pub gdb: &'static str,
    /// The folder of Debian's shared libraries below `lib`.
    pub multiarch: &'static str,
}

/// What the harness knows about `arch`.
pub const fn profile(arch: Arch) -> &'static Profile {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::I386 => &I386,
        Arch::Ppc64le => &PPC64LE,
        Arch::Ppc64 => &PPC64,
    }
}

/// The label of the kernel that is taken unless another one is asked for.
pub const fn usual_kernel(arch: Arch) -> &'static str {
    profile(arch).kernels[0].0
}

/// The label of the architecture's kernel that boots soonest.
pub const fn small_kernel(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "cloud",
        Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => usual_kernel(arch),
    }
}

/// UD2 (Intel SDM volume 2).
const UD2: &[u8] = &[0x0f, 0x0b];

const X86_64: Profile = Profile {
    kernels: &[
        ("generic", Origin::Debian(Suite::Bookworm, "linux-image-amd64")),
        ("cloud", Origin::Debian(Suite::Bookworm, "linux-image-cloud-amd64")),
        ("backports", Origin::Debian(Suite::BookwormBackports, "linux-image-cloud-amd64")),
    ],
    qemu: "qemu-system-x86_64",
    firmware: FirmwareKind::Bios,
    cpu: "max,la57=off",
    memory: 512,
    crashkernel: "192M",
    console: "ttyS0",
    early_console: "earlyprintk=ttyS0",
    kaslr: true,
    smp_capture: false,
    low_memory: LowMemory { size: 0xa_0000, least: 0x9_0000, given_up: 0 },
    endian: Endianness::Little,
    elf_machine: "Advanced Micro Devices X86-64",
    program_counter: 16,
    illegal_instruction: UD2,
    gdb: "gdb",
    multiarch: "x86_64-linux-gnu",
};

const I386: Profile = Profile {
    kernels: &[("686-pae", Origin::Debian(Suite::Bookworm, "linux-image-686-pae"))],
    qemu: "qemu-system-i386",
    cpu: "max",
    elf_machine: "Intel 80386",
    program_counter: 8,
    multiarch: "i386-linux-gnu",
    ..X86_64
};

const PPC64LE: Profile = Profile {
    kernels: &[
        // 6.1 with pages of 64 KiB.
        ("bookworm", Origin::Debian(Suite::Bookworm, "linux-image-powerpc64le")),
        // 6.12 with pages of 4 KiB.
        ("trixie", Origin::Debian(Suite::Trixie, "linux-image-powerpc64le")),
    ],
    qemu: "qemu-system-ppc64",
    firmware: FirmwareKind::Vof,
    cpu: "POWER9",
    memory: 512,
    crashkernel: "192M",
    console: "hvc0",
    early_console: "",
    kaslr: false,
    smp_capture: true,
    low_memory: LowMemory { size: 0x1_0000, least: 0xff00, given_up: 0x100 },
    endian: Endianness::Little,
    elf_machine: "PowerPC64",
    program_counter: 64,
    illegal_instruction: &[0; 4],
    gdb: "gdb-multiarch",
    multiarch: "powerpc64le-linux-gnu",
};

const PPC64: Profile = Profile {
    kernels: &[("big-endian", Origin::Built)],
    endian: Endianness::Big,
    multiarch: "powerpc64-linux-gnu",
    ..PPC64LE
};
