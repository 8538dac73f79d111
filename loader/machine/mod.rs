//! Reads the machine's facts from /proc and /sys, or from a captured copy of them. One file for
//! each source, in a folder if only one kind of machine has it; in each the parser is apart from
//! the reading and takes any text without panic.
#![forbid(unsafe_code)]

mod crash_notes;
mod device_tree;
mod iomem;
mod kallsyms;
mod kcore;
mod parse;
pub mod policy;
pub mod status;
mod sysroot;
mod vmcoreinfo;
mod x86;

use std::{io, path::PathBuf};

use crate::{
    facts::{Arch, Facts, KernelText, Platform, Ppc64, ppc64},
    fdt,
    range::PhysRange,
};
use iomem::Iomem;
use kcore::Kcore;

pub use kcore::KcoreError;
pub use parse::ParseError;
pub use sysroot::Sysroot;

/// Facts that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file that the kernel should provide.
    #[error("cannot read {}{}", path.display(), advice(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not as documented.
    #[error("{} is not understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: ParseError,
    },
    /// /proc/kcore is not as documented.
    #[error("{} is not understood", path.display())]
    Kcore {
        /// The file.
        path: PathBuf,
        /// What.
        source: KcoreError,
    },
    /// A device tree that cannot be read.
    #[error("{} is not understood", path.display())]
    DeviceTree {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: fdt::ParseError,
    },
    /// Nodes in nodes without end.
    #[error("{} is nested deeper than the nodes of a device tree", path.display())]
    TooDeep {
        /// The directory.
        path: PathBuf,
    },
    /// A device tree without what kexec needs.
    #[error("{} is not understood", path.display())]
    Ppc64 {
        /// The directory.
        path: PathBuf,
        /// What.
        source: ppc64::TreeError,
    },
    /// /proc/iomem shows zeros.
    #[error(
        "{} hides its addresses from this process: run as root (CAP_SYS_ADMIN)", path.display()
    )]
    AddressesHidden {
        /// The file.
        path: PathBuf,
    },
    /// /proc/iomem keeps changing.
    #[error(
        "{} changed at each of {reads} reads: try again when memory hotplug is over",
        path.display()
    )]
    Unstable {
        /// The file.
        path: PathBuf,
        /// How often it was read.
        reads: usize,
    },
    /// /proc/iomem has no RAM, as in some containers.
    #[error("{} lists no System RAM: is this a container, or a partial copy?", path.display())]
    NoSystemRam {
        /// The file.
        path: PathBuf,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (run as root)",
        io::ErrorKind::NotFound => " (is /proc or /sys mounted?)",
        _ => "",
    }
}

/// The running kernel's command line.
pub fn command_line(root: &Sysroot) -> Result<String, MachineError> {
    Ok(root.required_text("proc/cmdline")?.trim_end_matches('\n').to_owned())
}

/// Everything that planning needs to know.
pub fn read_facts(root: &Sysroot, arch: Arch) -> Result<Facts, MachineError> {
    let command_line = command_line(root)?;
    let memory = match arch {
        Arch::X86_64 | Arch::I386 => read_pc(root, arch, &command_line)?,
        Arch::Ppc64le | Arch::Ppc64 => read_ppc64(root)?,
    };
    Ok(Facts {
        arch,
        system_ram: memory.system_ram,
        crash_ranges: memory.crash_ranges,
        crash_cma_ranges: status::crash_cma_ranges(root)?,
        cpu_notes: crash_notes::read(root)?,
        vmcoreinfo: vmcoreinfo::read(root)?,
        kernel_text: memory.kernel_text,
        page_offset: memory.page_offset,
        linear_map_end: memory.linear_map_end,
        crash_elfcorehdr_size: status::crash_elfcorehdr_size(root)?,
        command_line,
        platform: memory.platform,
    })
}

/// The facts that come from elsewhere on each kind of machine; the fields are those of [`Facts`].
struct Memory {
    system_ram: Vec<PhysRange>,
    crash_ranges: Vec<PhysRange>,
    kernel_text: Option<KernelText>,
    page_offset: Option<u64>,
    linear_map_end: Option<u64>,
    platform: Platform,
}

fn read_pc(root: &Sysroot, arch: Arch, command_line: &str) -> Result<Memory, MachineError> {
    let iomem = Iomem::read(root)?;
    let kcore = Kcore::read(root, arch)?;
    let vmcoreinfo = kcore.as_ref().and_then(|kcore| kcore.vmcoreinfo.as_deref());
    Ok(Memory {
        system_ram: iomem.system_ram(),
        crash_ranges: iomem.crash_ranges(),
        kernel_text: match kcore::image_map(arch) {
            Some(_) => kernel_text(root, &iomem, kcore.as_ref())?,
            None => None,
        },
        page_offset: kcore.as_ref().and_then(Kcore::page_offset),
        linear_map_end: match arch {
            Arch::I386 => kcore.as_ref().and_then(Kcore::linear_map_end),
            Arch::X86_64 | Arch::Ppc64le | Arch::Ppc64 => None,
        },
        platform: Platform::X86(x86::read(root, &iomem, command_line, vmcoreinfo)?),
    })
}

/// /proc/iomem has neither the crash kernel's memory nor the kernel there.
fn read_ppc64(root: &Sysroot) -> Result<Memory, MachineError> {
    let path = || root.path("proc/device-tree");
    let machine = Ppc64::new(device_tree::read(root)?)
        .map_err(|source| MachineError::Ppc64 { path: path(), source })?;
    Ok(Memory {
        system_ram: machine.system_ram(),
        crash_ranges: machine.crash_kernel.into_iter().collect(),
        // The kernel's image is in the linear map, which the PT_LOADs of RAM show.
        kernel_text: None,
        page_offset: Some(ppc64::PAGE_OFFSET),
        linear_map_end: None,
        platform: Platform::Ppc64(Box::new(machine)),
    })
}

fn kernel_text(
    root: &Sysroot,
    iomem: &Iomem,
    kcore: Option<&Kcore>,
) -> Result<Option<KernelText>, MachineError> {
    const PAGE: u64 = 4096;
    let Some(phys) = iomem.kernel_image() else { return Ok(None) };
    let text = match kcore.and_then(|kcore| kcore.kernel_text(phys.start)) {
        Some(text) => Some(text),
        // Without the early allocations behind the BSS, which /proc/iomem does not name.
        None => kallsyms::read_text(root)?.map(|virt| KernelText { virt, phys }),
    };
    Ok(text.map(|KernelText { virt, phys }| KernelText {
        virt: virt & !(PAGE - 1),
        phys: PhysRange::new(phys.start & !(PAGE - 1), phys.end),
    }))
}

#[cfg(test)]
mod tests;
