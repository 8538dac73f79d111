//! What is measured on an architecture: kernels, loaders, ways of loading, and what is wanted.

use std::path::PathBuf;

use e2e::cell::Cell;
use e2e::kernel::Kernel;
use e2e::lab::{self, Lab};
use e2e::loader::{Loader, Maker};
use purgatorio::facts::Arch;

use super::Error;

/// RAM in MiB, and what the first kernel reserves of it: the same for every kernel and loader.
pub const MEMORY: u64 = 1024;
const CRASHKERNEL: &str = "256M";

/// An architecture with its loaders.
pub struct Subject {
    /// Which.
    pub arch: Arch,
    /// What is loaded.
    pub kernels: Vec<Flavour>,
    /// Our loader.
    pub ours: Loader,
    /// kexec-tools, where Debian has it.
    pub peer: Option<Loader>,
}

/// A kernel, first and second kernel of a measured machine.
pub struct Flavour {
    arch: Arch,
    kernel: Kernel,
    capture_initrd: PathBuf,
    /// What is wanted of it.
    pub wanted: &'static Wanted,
}

/// Bounds on the ratios ours/peer of one kernel's figures. Without one a figure is shown for
/// information.
pub struct Wanted {
    /// The kernel's label in the harness.
    label: &'static str,
    /// How it is packed.
    packing: &'static str,
    /// From the panic to the first line.
    pub first_line: Option<f64>,
    /// From the panic to the capture /init.
    pub capture_init: Option<f64>,
    /// Our ways of loading it; the last one is the default.
    pub ways: &'static [Way],
}

/// A way of loading a kernel.
pub struct Way {
    /// Its name, also that of the command that loads so.
    pub name: &'static str,
    /// The options that choose it.
    pub options: &'static [&'static str],
    /// Whether its first load unpacks the kernel, and keeps it for the later ones.
    pub unpacks: bool,
    /// Bound on the cost of a load, of a later one where the first unpacks.
    pub load: Option<f64>,
    /// Bound on the cost of a reboot.
    pub reboot: Option<f64>,
}

/// The second kernel's own decompressor runs after the crash.
const BZIMAGE: Way = Way {
    name: "bzimage",
    options: &["--entry-mode", "bzimage"],
    unpacks: false,
    load: Some(0.2),
    reboot: Some(1.0),
};
/// The loader decompresses.
const DIRECT: Way = Way {
    name: "direct",
    options: &["--entry-mode", "direct"],
    unpacks: true,
    load: Some(0.2),
    reboot: Some(0.1),
};
/// Nothing is to be decompressed.
const VMLINUX: Way =
    Way { name: "vmlinux", options: &[], unpacks: false, load: Some(0.2), reboot: Some(1.0) };

const GENERIC: Wanted = Wanted {
    label: "generic",
    packing: "XZ",
    first_line: Some(1.0 / 30.0),
    capture_init: Some(0.2),
    ways: &[Way { load: Some(1.0 / 15.0), reboot: Some(0.6), ..BZIMAGE }, DIRECT],
};
const CLOUD: Wanted = Wanted {
    label: "cloud",
    packing: "LZ4",
    first_line: Some(1.0 / 12.0),
    capture_init: Some(0.4),
    ways: &[Way { load: Some(1.0 / 15.0), reboot: Some(0.6), ..BZIMAGE }, DIRECT],
};
const PAE: Wanted = Wanted {
    label: "686-pae",
    packing: "XZ",
    first_line: Some(1.0 / 30.0),
    capture_init: Some(1.0),
    ways: &[BZIMAGE, DIRECT],
};
/// A tenth, because QEMU's CPU has the vector instructions for SHA-256.
const BOOKWORM: Wanted = Wanted {
    label: "bookworm",
    packing: "ELF",
    first_line: Some(0.1),
    capture_init: Some(1.0),
    ways: &[VMLINUX],
};
const TRIXIE: Wanted = Wanted { label: "trixie", ..BOOKWORM };
const BIG_ENDIAN: Wanted =
    Wanted { label: "big-endian", first_line: None, capture_init: None, ..BOOKWORM };

/// The kernels of `arch`; sizes are those of the first one.
fn wanted(arch: Arch) -> &'static [&'static Wanted] {
    match arch {
        Arch::X86_64 => &[&GENERIC, &CLOUD],
        Arch::I386 => &[&PAE],
        Arch::Ppc64le => &[&BOOKWORM, &TRIXIE],
        Arch::Ppc64 => &[&BIG_ENDIAN],
    }
}

impl Subject {
    /// Fetches and builds what is needed to measure `arch`.
    pub fn prepare(lab: &Lab, arch: Arch) -> Result<Self, Error> {
        let peer = match lab.peer(arch) {
            Ok(peer) => Some(peer),
            Err(lab::Error::NoPeer { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let kernels = wanted(arch).iter().map(|wanted| Flavour::prepare(lab, arch, wanted));
        Ok(Self {
            arch,
            kernels: kernels.collect::<Result<_, _>>()?,
            ours: lab.our_loader(arch)?,
            peer,
        })
    }
}

impl Flavour {
    fn prepare(lab: &Lab, arch: Arch, wanted: &'static Wanted) -> Result<Self, Error> {
        let kernel = lab.kernel(arch, wanted.label)?;
        let capture_initrd = lab.capture_initrd(arch, &kernel)?;
        Ok(Self { arch, kernel, capture_initrd, wanted })
    }

    /// The kernel in figures: `generic (XZ)`.
    pub fn title(&self) -> String {
        format!("{} ({})", self.wanted.label, self.wanted.packing)
    }

    /// The kernel's release.
    pub fn release(&self) -> String {
        self.kernel.release()
    }

    /// The machine for the run `what`; its name is also that of the run's folder.
    pub fn cell(&self, lab: &Lab, what: &str, loader: &Loader, turn: &str) -> Cell {
        let maker = loader.maker.name();
        let name = format!("bench-{what}-{}-{}-{maker}{turn}", self.arch, self.wanted.label);
        let (kernel, initrd) = (self.kernel.clone(), self.capture_initrd.clone());
        Cell {
            memory: MEMORY,
            crashkernel: Some(CRASHKERNEL.into()),
            ..lab.cell(self.arch, &name, kernel, loader.clone(), initrd)
        }
    }

    /// The ways in which a loader of `maker` can load it. The peer has one.
    pub fn ways(&self, maker: Maker) -> &'static [Way] {
        /// That of the kernel's own file.
        const PEERS: [Way; 1] =
            [Way { name: PEERS_WAY, options: &[], unpacks: false, load: None, reboot: None }];
        match maker {
            Maker::Ours => self.wanted.ways,
            Maker::Peer => &PEERS,
        }
    }
}

/// What the peer's only way is called.
pub const PEERS_WAY: &str = "load";
