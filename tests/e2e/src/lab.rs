//! Everything that runs need, prepared once: programs, kernels, firmware, folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use e2e_guest::{Script, Trigger};
use purgatorio::facts::Arch;

use crate::arch::{self, FirmwareKind, Origin, Profile};
use crate::capture_image::Wanted;
use crate::cell::{Cell, SECOND_INITRD, SECOND_KERNEL, Syscall};
use crate::debian::{Archive, Suite};
use crate::disk::Disk;
use crate::first_boot::{self, GuestFile};
use crate::kernel::Kernel;
use crate::loader::{Loader, Maker};
use crate::qemu::{Flash, Machine, Qemu};
use crate::secure_boot::Keys;
use crate::{
    capture_image, debian, debian_root, disk, initramfs_tools, kernel, kernel_build, process,
    programs, qemu, secure_boot, trigger_module, uki,
};

/// Something could not be prepared or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is missing.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// A kernel is missing.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A kernel cannot be built.
    #[error(transparent)]
    KernelBuild(#[from] kernel_build::Error),
    /// No kernel has this label.
    #[error("no kernel of {arch} is called {label:?}; there are {known}")]
    UnknownKernel {
        /// The architecture.
        arch: Arch,
        /// What was asked for.
        label: String,
        /// What there is.
        known: String,
    },
    /// Debian has no kexec-tools.
    #[error("Debian has no release for {arch}, and so no kexec-tools: give a program instead")]
    NoPeer {
        /// The architecture.
        arch: Arch,
    },
    /// A program cannot be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A loader cannot be used.
    #[error(transparent)]
    Loader(#[from] kdump::libraries::Error),
    /// The first initramfs cannot be made.
    #[error(transparent)]
    FirstBoot(#[from] first_boot::Error),
    /// The dump target cannot be made or read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The machine does not run.
    #[error(transparent)]
    Qemu(#[from] qemu::Error),
    /// An image cannot be made.
    #[error(transparent)]
    CaptureImage(#[from] process::Error),
    /// Debian's initrd cannot be made.
    #[error(transparent)]
    InitramfsTools(#[from] initramfs_tools::Error),
    /// A Debian system cannot be made.
    #[error(transparent)]
    DebianRoot(#[from] debian_root::Error),
    /// The module that triggers panics cannot be built.
    #[error(transparent)]
    TriggerModule(#[from] trigger_module::Error),
    /// A unified kernel image cannot be made.
    #[error(transparent)]
    Uki(#[from] uki::Error),
    /// The keys for Secure Boot cannot be made or used.
    #[error(transparent)]
    SecureBoot(#[from] secure_boot::Error),
    /// A file cannot be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Our own programs for one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The guest program.
    pub guest: PathBuf,
    /// The folder of the static programs.
    pub dist: PathBuf,
}

/// Where everything lies.
#[derive(Debug)]
pub struct Lab {
    /// `target/e2e`.
    pub dir: PathBuf,
    /// Our QEMU plugin.
    pub plugin: PathBuf,
    /// `kdump` for the host.
    kdump: PathBuf,
    /// Built when they were first asked for.
    programs: Mutex<Vec<(Arch, Programs)>>,
    /// Held while something is fetched or made that several cells use.
    making: Mutex<()>,
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
    /// Builds what the host runs.
    pub fn prepare() -> Result<Self, Error> {
        Ok(Self {
            dir: programs::target().join("e2e"),
            plugin: programs::plugin()?,
            kdump: programs::kdump()?,
            programs: Mutex::new(Vec::new()),
            making: Mutex::new(()),
        })
    }

    /// Our programs for `arch`, built at the first call.
    pub fn programs(&self, arch: Arch) -> Result<Programs, Error> {
        // A thread that panicked while it held the lock had not changed the list.
        let mut known = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, programs)) = known.iter().find(|(of, _)| *of == arch) {
            return Ok(programs.clone());
        }
        let programs = Programs { guest: programs::guest(arch)?, dist: programs::dist(arch)? };
        known.push((arch, programs.clone()));
        Ok(programs)
    }

    /// `kdump` for the host.
    pub fn kdump(&self) -> &Path {
        &self.kdump
    }

    /// The file with the debug information of Debian's `kernel`, fetched at the first call.
    pub fn debug_kernel(&self, arch: Arch, kernel: &Kernel) -> Result<PathBuf, Error> {
        let _making = self.making();
        let release = kernel.release();
        let package = format!("linux-image-{release}-dbg");
        let file = format!("usr/lib/debug/boot/vmlinux-{release}");
        Ok(self.archive(arch, Suite::Bookworm)?.file_of(&package, &file)?)
    }

    /// Debian's archive for `arch`.
    pub fn archive(&self, arch: Arch, suite: Suite) -> Result<Archive, Error> {
        Ok(Archive::open(&self.dir.join("cache"), arch, suite)?)
    }

    /// The kernel that the architecture's [`arch::Profile`] has under this label.
    pub fn kernel(&self, arch: Arch, label: &str) -> Result<Kernel, Error> {
        let known = arch::profile(arch).kernels;
        let found = known.iter().find(|(name, _)| *name == label);
        match found.map(|(_, origin)| *origin) {
            Some(Origin::Debian(suite, package)) => {
                Ok(Kernel::in_package(label, &self.archive(arch, suite)?.kernel(package)?)?)
            }
            Some(Origin::Built) => {
                let archive = self.archive(arch, Suite::Bookworm)?;
                let tell = |line: &str| eprintln!("{line}");
                let kernel =
                    kernel_build::big_endian(&archive, &self.dir.join("cache/kernels"), &tell)?;
                Ok(Kernel { label: label.into(), ..kernel })
            }
            None => Err(Error::UnknownKernel {
                arch,
                label: label.into(),
                known: known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// The first of the architecture's kernels.
    pub fn usual_kernel(&self, arch: Arch) -> Result<Kernel, Error> {
        self.kernel(arch, arch::usual_kernel(arch))
    }

    /// The capture image of `kernel`, with our capture program.
    pub fn capture_initrd(&self, arch: Arch, kernel: &Kernel) -> Result<PathBuf, Error> {
        let image = self.dir.join(format!("capture-{arch}-{}.img", kernel.release()));
        let init = self.programs(arch)?.dist.join("kdump-capture");
        capture_image::build(&self.kdump, &init, kernel, &Wanted::default(), &image)?;
        Ok(image)
    }

    /// A capture image of `kernel` for the cell called `name`.
    pub fn capture_image(
        &self,
        name: &str,
        arch: Arch,
        kernel: &Kernel,
        wanted: Wanted<'_>,
    ) -> Result<PathBuf, Error> {
        let image = self.dir.join(format!("capture-{name}.img"));
        let init = self.programs(arch)?.dist.join("kdump-capture");
        capture_image::build(&self.kdump, &init, kernel, &wanted, &image)?;
        Ok(image)
    }

    /// One that panicked while it held the lock left what the next one makes anew.
    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The initrd that Debian's initramfs-tools makes for `kernel`.
    pub fn debian_initrd(&self, arch: Arch, kernel: &Kernel) -> Result<PathBuf, Error> {
        let _making = self.making();
        let folder = self.dir.join("cache/initrds");
        fs::create_dir_all(&folder)
            .map_err(|source| Error::File { path: folder.clone(), source })?;
        let initrd = folder.join(format!("initramfs-tools-{}", kernel.release()));
        initramfs_tools::build(&self.archive(arch, Suite::Bookworm)?, kernel, &initrd)?;
        Ok(initrd)
    }

    /// `base` with early loading of the cell's second kernel and capture image, at `out`; made by
    /// our program as an operator makes it.
    pub fn early_initrd(&self, cell: &Cell, base: &Path, out: &Path) -> Result<(), Error> {
        let dist = self.programs(cell.arch)?.dist;
        process::output(
            Command::new(&self.kdump)
                .args(["mkinitrd", "-i"])
                .arg(&cell.capture_initrd)
                .arg("-v")
                .arg(&cell.second_kernel)
                .arg("--base")
                .arg(base)
                .arg("--init")
                .arg(dist.join("kdump-capture"))
                .arg("--kexec")
                .arg(&cell.loader.program)
                .arg("-o")
                .arg(out)
                .arg(cell.kernel.release()),
        )?;
        Ok(())
    }

    /// A Debian system for `arch` in a folder, made at the first call, and the archive that it is
    /// from. Copy it before anything in it is changed.
    pub fn debian_root(&self, arch: Arch) -> Result<(PathBuf, Archive), Error> {
        let _making = self.making();
        let archive = self.archive(arch, Suite::Bookworm)?;
        let root = self.dir.join("cache/debian-root");
        debian_root::build(&archive, &root)?;
        Ok((root, archive))
    }

    /// Our Debian package for `arch`.
    pub fn package(&self, arch: Arch) -> Result<PathBuf, Error> {
        let _making = self.making();
        Ok(programs::package(arch)?)
    }

    /// Our loader for `arch`.
    pub fn our_loader(&self, arch: Arch) -> Result<Loader, Error> {
        let program = self.programs(arch)?.dist.join("kexec");
        Ok(Loader::new(arch, Maker::Ours, &program, Path::new("/"))?)
    }

    /// The module that makes `kernel` panic from inside.
    pub fn trigger_module(&self, arch: Arch, kernel: &Kernel) -> Result<PathBuf, Error> {
        let _making = self.making();
        let folder = self.dir.join("cache/modules");
        fs::create_dir_all(&folder)
            .map_err(|source| Error::File { path: folder.clone(), source })?;
        let module = folder.join(format!("trigger-{}.ko", kernel.release()));
        let archive = self.archive(arch, Suite::Bookworm)?;
        // They run here.
        let tools = self.archive(Arch::X86_64, Suite::Bookworm)?;
        trigger_module::build(&archive, &tools, arch, kernel, &module)?;
        Ok(module)
    }

    /// Debian's kexec-tools for `arch`.
    pub fn peer(&self, arch: Arch) -> Result<Loader, Error> {
        if debian::architecture(arch).is_none() {
            return Err(Error::NoPeer { arch });
        }
        let _making = self.making();
        let root = self
            .archive(arch, Suite::Bookworm)?
            .with_dependencies("kexec-tools", &["kexec-tools"])?;
        Ok(Loader::new(arch, Maker::Peer, &root.join("sbin/kexec"), &root)?)
    }

    /// The architecture's usual machine with one CPU and without KASLR.
    pub fn cell(
        &self,
        arch: Arch,
        name: &str,
        kernel: Kernel,
        loader: Loader,
        capture_initrd: PathBuf,
    ) -> Cell {
        let Profile { memory, crashkernel, cpu, firmware, .. } = *arch::profile(arch);
        Cell {
            name: name.into(),
            arch,
            second_kernel: kernel.image.clone(),
            kernel,
            capture_initrd,
            loader,
            syscall: Syscall::Load,
            loader_options: Vec::new(),
            memory,
            smp: 1,
            crashkernel: Some(crashkernel.into()),
            cpu: cpu.into(),
            firmware,
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
        first_boot::build(
            &initrd,
            &self.programs(cell.arch)?.guest,
            script,
            Some(&cell.loader),
            &all,
        )?;
        self.start(cell, folder, &initrd, disk, watch)
    }

    /// Boots the cell's first kernel with `initrd`, with the machine's logs in `folder`.
    pub fn start(
        &self,
        cell: &Cell,
        folder: &Path,
        initrd: &Path,
        disk: Option<&Disk>,
        watch: Watch,
    ) -> Result<Qemu, Error> {
        let machine = Machine {
            program: cell.profile().qemu,
            kernel: cell.kernel.image.clone(),
            initrd: initrd.to_owned(),
            append: cell.command_line(),
            memory: cell.memory,
            smp: cell.smp,
            cpu: cell.cpu.clone(),
            firmware: cell.firmware,
            flash: self.flash(cell.firmware, folder)?,
            disk: disk.map(|disk| disk.image.clone()),
            gdb: watch == Watch::Debug,
            plugin: (watch == Watch::Instructions).then(|| self.plugin.clone()),
            extra: cell.qemu_arguments.clone(),
        };
        Ok(Qemu::start(&machine, folder)?)
    }

    /// The program that a unified kernel image is made around.
    pub fn uki_stub(&self) -> Result<PathBuf, Error> {
        let _making = self.making();
        let package = self.archive(Arch::X86_64, Suite::Bookworm)?.package("systemd-boot-efi")?;
        Ok(package.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
    }

    /// The files of Debian's OVMF package, fetched at the first call.
    pub fn ovmf(&self) -> Result<PathBuf, Error> {
        Ok(self.archive(Arch::X86_64, Suite::Bookworm)?.package("ovmf")?)
    }

    /// The keys that machines with Secure Boot trust, made at the first call.
    pub fn secure_boot_keys(&self) -> Result<Keys, Error> {
        let _making = self.making();
        Ok(Keys::in_folder(&self.dir.join("secure-boot"))?)
    }

    fn flash(&self, firmware: FirmwareKind, folder: &Path) -> Result<Option<Flash>, Error> {
        let code = match firmware {
            FirmwareKind::Uefi => "OVMF_CODE_4M.fd",
            FirmwareKind::SecureBoot => "OVMF_CODE_4M.secboot.fd",
            FirmwareKind::Bios | FirmwareKind::Vof | FirmwareKind::Slof | FirmwareKind::Opal => {
                return Ok(None);
            }
        };
        let ovmf = self.ovmf()?.join("usr/share/OVMF");
        let empty = ovmf.join("OVMF_VARS_4M.fd");
        let variables = folder.join("OVMF_VARS.fd");
        if firmware == FirmwareKind::SecureBoot {
            self.secure_boot_keys()?.enroll(&empty, &variables)?;
        } else {
            fs::copy(empty, &variables)
                .map_err(|source| Error::File { path: variables.clone(), source })?;
        }
        Ok(Some(Flash { code: ovmf.join(code), variables }))
    }
}
