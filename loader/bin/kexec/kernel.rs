//! The kernel's file: what it is, and which of its code runs first.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use purgatorio::{
    facts::x86::Cpu,
    file::{FileError, InputFile},
    image::{
        BzImage, Image, ImageError, Kind, Relocations, RelocationsError, Uki, UkiError, Vmlinux,
        VmlinuxError, uki, wrapper,
    },
    options::{self, ImageType},
    plan::{
        EntryMode, Target,
        command_line::words,
        x86::entry::{Choice, Obstacle, Situation, Wanted},
        x86::kaslr::{Fixed, Seed},
    },
};

use crate::{
    report::chain,
    request::Load,
    unpacked::{Unpacked, Unpacker, UnpackerError},
};

/// The kernel's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It cannot be opened or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is compressed as a whole, and damaged.
    #[error("{}", path.display())]
    Unpack { path: PathBuf, source: UnpackerError },
    /// It is a unified kernel image with something wrong.
    #[error("{}", path.display())]
    Uki { path: PathBuf, source: UkiError },
    /// Its command line cannot be passed on.
    #[error(
        "the command line (.cmdline) of the unified kernel image {} is not UTF-8: give one with \
         --append",
        path.display()
    )]
    UkiCommandLine { path: PathBuf },
    /// It is no unified kernel image, and `--type` wants one.
    #[error("{} is no unified kernel image, as --type demands", path.display())]
    NoUki { path: PathBuf },
    /// It is no kernel.
    #[error("{}", path.display())]
    Image { path: PathBuf, source: ImageError },
    /// It is not what `--type` wants.
    #[error("{} is {found}, not {wanted} as --type demands", path.display())]
    Type { path: PathBuf, found: Kind, wanted: Kind },
    /// `--entry-mode=direct` is not possible.
    #[error("{} cannot be entered directly", path.display())]
    NotDirect { path: PathBuf, source: Obstacle },
    /// Only a bzImage has another entry than its own.
    #[error("{} is {kind}: only a bzImage has the entry that was asked for", path.display())]
    OnlyDirect { path: PathBuf, kind: Kind },
    /// The compressed kernel in the bzImage is damaged.
    #[error("the compressed kernel in {}", path.display())]
    Payload { path: PathBuf, source: UnpackerError },
    /// What the bzImage's payload unpacks to is not a kernel.
    #[error("the unpacked kernel of {}", path.display())]
    Unpacked { path: PathBuf, source: VmlinuxError },
    /// The kernel in the bzImage's payload cannot be moved.
    #[error("the unpacked kernel of {}", path.display())]
    Relocations { path: PathBuf, source: RelocationsError },
}

/// A kernel's file in memory.
pub struct KernelFile<'p> {
    path: &'p Path,
    file: InputFile,
    /// Which bytes of it are the kernel: all, unless it is wrapped.
    kernel: Range<usize>,
    /// What is in it beside the kernel, if it is a unified kernel image.
    uki: Option<Uki>,
    /// Its content, if it is compressed as a whole.
    unpacked: Option<Unpacked>,
}

impl<'p> KernelFile<'p> {
    /// Opens the file; takes the kernel out of a powerpc zImage or a unified kernel image; unpacks it
    /// if it is compressed as a whole.
    pub fn open(path: &'p Path, unpacker: &Unpacker<'_>) -> Result<Self, KernelError> {
        let file = InputFile::open(path)?;
        let uki = Uki::parse(&file)
            .map_err(|source| KernelError::Uki { path: path.to_owned(), source })?;
        let kernel = match &uki {
            Some(uki) => uki.linux.clone(),
            None => wrapper::payload(&file).unwrap_or(0..file.len()),
        };
        let unpacked = match Image::detect(&file[kernel.clone()]) {
            Err(ImageError::Compressed { .. }) => Some(
                unpacker
                    .unpack(&file[kernel.clone()], "unpacking the kernel's file")
                    .map_err(|source| KernelError::Unpack { path: path.to_owned(), source })?,
            ),
            Ok(_) | Err(_) => None,
        };
        Ok(Self { path, file, kernel, uki, unpacked })
    }

    /// The initrd, the command line and what else is in a unified kernel image. That the command line
    /// cannot be read is an error if it is `wanted`.
    pub fn embedded(&self, wanted: bool) -> Result<Option<Embedded<'_>>, KernelError> {
        let Some(uki) = &self.uki else { return Ok(None) };
        let part = |range: &Option<Range<usize>>| Some(&self.file[range.clone()?]);
        let command_line = part(&uki.cmdline).and_then(uki::text);
        if wanted && uki.cmdline.is_some() && command_line.is_none() {
            return Err(KernelError::UkiCommandLine { path: self.path.to_owned() });
        }
        Ok(Some(Embedded {
            initrd: part(&uki.initrd),
            command_line,
            system: part(&uki.osrel).and_then(uki::pretty_name),
            has_device_tree: uki.dtb.is_some(),
        }))
    }

    /// What is in it: the first kind that suits, or the wanted one.
    pub fn image(&self, wanted: Option<ImageType>) -> Result<Image<'_>, KernelError> {
        let bytes = self.unpacked.as_deref().unwrap_or(&self.file[self.kernel.clone()]);
        let path = || self.path.to_owned();
        if wanted == Some(ImageType::Uki) && self.uki.is_none() {
            return Err(KernelError::NoUki { path: path() });
        }
        let kinds = wanted.map_or(&Kind::ALL[..], kinds);
        let image = match (kinds.iter().find(|kind| kind.suits(bytes)), Kind::of(bytes)) {
            (Some(kind), _) => Image::parse(bytes, *kind),
            (None, Some(found)) => {
                return Err(KernelError::Type { path: path(), found, wanted: kinds[0] });
            }
            (None, None) => Image::detect(bytes),
        };
        image.map_err(|source| KernelError::Image { path: path(), source })
    }
}

/// What a unified kernel image has beside the kernel.
pub struct Embedded<'u> {
    /// The initial RAM disk.
    pub initrd: Option<&'u [u8]>,
    /// The command line.
    pub command_line: Option<&'u str>,
    /// The name of the system that it is for.
    pub system: Option<&'u str>,
    /// Whether there is a device tree, which a PC does not need.
    pub has_device_tree: bool,
}

impl fmt::Display for Embedded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a unified kernel image")?;
        if let Some(system) = self.system {
            write!(f, " of {system}")?;
        }
        match self.initrd {
            Some(initrd) => write!(f, " with an initrd of {} bytes", initrd.len())?,
            None => write!(f, " without an initrd")?,
        }
        match self.command_line {
            Some(line) => write!(f, ", the command line {line:?}")?,
            None => write!(f, ", no command line")?,
        }
        if self.has_device_tree {
            write!(f, ", a device tree, which is not used")?;
        }
        Ok(())
    }
}

/// The kinds that `--type` names; at least one.
fn kinds(image_type: ImageType) -> &'static [Kind] {
    match image_type {
        ImageType::BzImage => &[Kind::BzImage],
        ImageType::Vmlinux => &[Kind::Elf64, Kind::Elf32],
        ImageType::Multiboot => &[Kind::Multiboot],
        ImageType::Multiboot2 => &[Kind::Multiboot2],
        // What is in it may be any.
        ImageType::Uki => &Kind::ALL,
    }
}

/// Which code of the kernel runs first, and what is needed for that.
pub struct Entry {
    /// A bzImage's unpacked kernel, when it is entered directly.
    elf: Option<Unpacked>,
    /// Whether it is a bzImage's 32-bit entry.
    pub entry_32bit: bool,
    /// Why it is not the preferred one.
    pub reason: Option<String>,
}

impl Entry {
    /// The only one that all but a bzImage have.
    pub fn only(kind: Kind, request: &Load) -> Result<Self, KernelError> {
        if wanted(request.entry) == Wanted::BzImage || request.entry_32bit {
            return Err(KernelError::OnlyDirect { path: request.kernel.clone(), kind });
        }
        Ok(Self { elf: None, entry_32bit: false, reason: None })
    }

    /// Chooses one of a bzImage's, and unpacks the kernel when it is entered directly. What cannot be
    /// unpacked is an error only for `--entry-mode=direct`: otherwise the kernel may try it itself.
    pub fn of_bzimage(
        image: &BzImage<'_>,
        request: &Load,
        cpu: Cpu,
        command_line: &str,
        seed: Result<Seed, Fixed>,
        unpacker: &Unpacker<'_>,
    ) -> Result<Self, KernelError> {
        let wanted = wanted(request.entry);
        let path = || request.kernel.clone();
        let situation = Situation {
            wanted,
            entry_32bit: request.entry_32bit,
            target: request.target,
            image,
            arch: request.arch,
            cpu,
            no5lvl: words(command_line).any(|word| word == "no5lvl"),
            seed,
        };
        let choice =
            situation.choose().map_err(|source| KernelError::NotDirect { path: path(), source })?;
        if choice.mode != EntryMode::Direct {
            return Ok(Self::through_bzimage(
                &choice,
                choice.reason.map(|reason| reason.to_string()),
            ));
        }
        let unpacked = unpack_payload(image, &request.kernel, unpacker).and_then(|elf| {
            let vmlinux = parse_unpacked(&elf, &request.kernel)?;
            // KASLR needs it.
            if request.target == Target::Reboot && !vmlinux.tail.is_empty() {
                check_relocations(&vmlinux, &request.kernel)?;
            }
            Ok(elf)
        });
        match unpacked {
            Ok(elf) => Ok(Self { elf: Some(elf), entry_32bit: false, reason: None }),
            Err(error) if wanted == Wanted::Direct => Err(error),
            Err(error) => {
                let choice = situation.fallback(Some(Obstacle::Unpack));
                let reason = format!("{}: {}", Obstacle::Unpack, chain(&error));
                Ok(Self::through_bzimage(&choice, Some(reason)))
            }
        }
    }

    fn through_bzimage(choice: &Choice, reason: Option<String>) -> Self {
        Self { elf: None, entry_32bit: choice.mode == EntryMode::BzImage32, reason }
    }

    /// The unpacked kernel of a bzImage that is entered directly.
    pub fn vmlinux(&self, path: &Path) -> Result<Option<Vmlinux<'_>>, KernelError> {
        self.elf.as_deref().map(|elf| parse_unpacked(elf, path)).transpose()
    }
}

fn wanted(mode: options::EntryMode) -> Wanted {
    match mode {
        options::EntryMode::Auto => Wanted::Auto,
        options::EntryMode::Direct => Wanted::Direct,
        options::EntryMode::Bzimage => Wanted::BzImage,
    }
}

/// The kernel in a bzImage.
pub fn unpack_payload(
    image: &BzImage<'_>,
    path: &Path,
    unpacker: &Unpacker<'_>,
) -> Result<Unpacked, KernelError> {
    // `Situation::choose` does not choose the direct entry without a payload; an empty one is in no
    // known format.
    let payload = image.payload.unwrap_or_default();
    let elf = unpacker
        .unpack(payload, "unpacking the kernel")
        .map_err(|source| KernelError::Payload { path: path.to_owned(), source })?;
    let vmlinux = parse_unpacked(&elf, path)?;
    if !vmlinux.is_64 {
        check_relocations(&vmlinux, path)?;
    }
    Ok(elf)
}

fn check_relocations(vmlinux: &Vmlinux<'_>, path: &Path) -> Result<(), KernelError> {
    match Relocations::parse(vmlinux.tail, vmlinux.is_64) {
        Ok(_) => Ok(()),
        Err(source) => Err(KernelError::Relocations { path: path.to_owned(), source }),
    }
}

fn parse_unpacked<'a>(elf: &'a [u8], path: &Path) -> Result<Vmlinux<'a>, KernelError> {
    Vmlinux::parse(elf).map_err(|source| KernelError::Unpacked { path: path.to_owned(), source })
}
