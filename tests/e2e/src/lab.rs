//! Everything that runs need, prepared once: programs, kernels, firmware, folders.

use std::fs;
use std::path::{Path, PathBuf};

use e2e_guest::{Script, Trigger};
use purgatorio::facts::Arch;

use crate::cell::{Cell, FirmwareKind, SECOND_INITRD, SECOND_KERNEL, Syscall};
use crate::debian::{Archive, Suite};
use crate::disk::Disk;
use crate::first_boot::{self, GuestFile};
use crate::kernel::Kernel;
use crate::loader::{Loader, Maker};
use crate::qemu::{Firmware, Machine, Qemu};
use crate::{capture_image, debian, disk, kernel, loader, process, programs, qemu};

/// The architecture of everything here.
pub const ARCH: Arch = Arch::X86_64;

/// Something could not be prepared or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// A kernel is missing.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A program cannot be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A loader cannot be used.
    #[error(transparent)]
    Loader(#[from] loader::Error),
    /// The first initramfs cannot be made.
    #[error(transparent)]
    FirstBoot(#[from] first_boot::Error),
    /// The dump target cannot be made or read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The machine does not run.
    #[error(transparent)]
    Qemu(#[from] qemu::Error),
    /// The capture image cannot be made.
    #[error(transparent)]
    CaptureImage(#[from] process::Error),
    /// A file cannot be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where everything lies.
#[derive(Debug)]
pub struct Lab {
    /// `target/e2e`.
    pub dir: PathBuf,
    /// Packages.
    pub archive: Archive,
    /// Our guest program.
    pub guest: PathBuf,
    /// Our QEMU plugin.
    pub plugin: PathBuf,
    /// Our static programs.
    pub dist: PathBuf,
}

/// How a cell is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// With a gdbstub; time is the host's.
    Debug,
    /// Alone; time is the host's.
    Plain,
    /// Alone on one deterministic CPU, with its instructions counted.
    Instructions,
}

impl Lab {
    /// Builds the programs and opens the archive.
    pub fn prepare() -> Result<Self, Error> {
        let dir = programs::target().join("e2e");
        Ok(Self {
            archive: Archive::open(&dir.join("cache"), ARCH, Suite::Bookworm)?,
            guest: programs::guest(ARCH)?,
            plugin: programs::plugin()?,
            dist: programs::dist(ARCH)?,
            dir,
        })
    }

    /// Debian's generic kernel (XZ) or its cloud kernel (LZ4).
    pub fn debian_kernel(&self, flavour: &str) -> Result<Kernel, Error> {
        let package = match flavour {
            "generic" => "linux-image-amd64".to_owned(),
            other => format!("linux-image-{other}-amd64"),
        };
        Ok(Kernel::in_package(flavour, &self.archive.kernel(&package)?)?)
    }

    /// The capture image of `kernel`, with our capture program.
    pub fn capture_initrd(&self, kernel: &Kernel) -> Result<PathBuf, Error> {
        let image = self.dir.join(format!("capture-{}.img", kernel.release()));
        capture_image::build(&self.dist, kernel, &image)?;
        Ok(image)
    }

    /// Our loader.
    pub fn our_loader(&self) -> Result<Loader, Error> {
        Ok(Loader::new(Maker::Ours, &self.dist.join("kexec"), Path::new("/"))?)
    }

    /// Debian's kexec-tools.
    pub fn peer(&self) -> Result<Loader, Error> {
        let root = self.archive.with_dependencies("kexec-tools")?;
        Ok(Loader::new(Maker::Peer, &root.join("sbin/kexec"), &root)?)
    }

    /// The usual machine: 1 GiB, one CPU, 256 MiB reserved, 4-level paging, SeaBIOS, no KASLR.
    pub fn cell(
        &self,
        name: &str,
        kernel: Kernel,
        loader: Loader,
        capture_initrd: PathBuf,
    ) -> Cell {
        Cell {
            name: name.into(),
            second_kernel: kernel.image.clone(),
            kernel,
            capture_initrd,
            loader,
            syscall: Syscall::Load,
            loader_options: Vec::new(),
            memory: 1024,
            smp: 1,
            crashkernel: Some("256M".into()),
            cpu: "max,la57=off".into(),
            firmware: FirmwareKind::Bios,
            qemu_arguments: Vec::new(),
            append: String::new(),
            kaslr: false,
            trigger: Trigger::Sysrq,
            panic_cpu: 0,
            measured: false,
            keep_dump: false,
        }
    }

    /// The cell's folder, empty.
    pub fn fresh_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.dir.join(name);
        let failed = |source| Error::File { path: folder.clone(), source };
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }

    /// Boots the cell's first kernel in `folder` with `script` for the guest program.
    ///
    /// In the guest lie the loader, the second kernel, `files`, and the capture initrd unless
    /// `files` brings another.
    pub fn boot(
        &self,
        cell: &Cell,
        folder: &Path,
        script: &Script,
        files: &[GuestFile],
        disk: Option<&Disk>,
        watch: Watch,
    ) -> Result<Qemu, Error> {
        let mut all = vec![
            GuestFile::copy(SECOND_KERNEL, &cell.second_kernel),
            GuestFile::copy(SECOND_INITRD, &cell.capture_initrd),
        ];
        all.extend_from_slice(files);
        let initrd = folder.join("first-initrd");
        first_boot::build(&initrd, &self.guest, script, Some(&cell.loader), &all)?;
        let machine = Machine {
            kernel: cell.kernel.image.clone(),
            initrd,
            append: cell.command_line(),
            memory: cell.memory,
            smp: cell.smp,
            cpu: cell.cpu.clone(),
            firmware: self.firmware(cell.firmware, folder)?,
            disk: disk.map(|disk| disk.image.clone()),
            gdb: watch == Watch::Debug,
            plugin: (watch == Watch::Instructions).then(|| self.plugin.clone()),
            extra: cell.qemu_arguments.clone(),
        };
        Ok(Qemu::start(&machine, folder)?)
    }

    fn firmware(&self, kind: FirmwareKind, folder: &Path) -> Result<Firmware, Error> {
        match kind {
            FirmwareKind::Bios => Ok(Firmware::Bios),
            FirmwareKind::Uefi => {
                let ovmf = self.archive.package("ovmf")?.join("usr/share/OVMF");
                let variables = folder.join("OVMF_VARS.fd");
                fs::copy(ovmf.join("OVMF_VARS_4M.fd"), &variables)
                    .map_err(|source| Error::File { path: variables.clone(), source })?;
                Ok(Firmware::Uefi { code: ovmf.join("OVMF_CODE_4M.fd"), variables })
            }
        }
    }
}
