//! The kernel's file: what it is, and which of its code runs first.

use std::ops::Range;
use std::path::{Path, PathBuf};

use purgatorio::{
    facts::x86::Cpu,
    file::{FileError, InputFile},
    image::{
        BzImage, Image, ImageError, Kind, Relocations, RelocationsError, Vmlinux, VmlinuxError,
        wrapper,
    },
    options::{self, ImageType},
    plan::{
        EntryMode, Target,
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
    /// Its content, if it is compressed as a whole.
    unpacked: Option<Unpacked>,
}

impl<'p> KernelFile<'p> {
    /// Opens the file; takes the kernel out of a powerpc zImage; unpacks it if it is compressed as a
    /// whole.
    pub fn open(path: &'p Path, unpacker: &Unpacker<'_>) -> Result<Self, KernelError> {
        let file = InputFile::open(path)?;
        let kernel = wrapper::payload(&file).unwrap_or(0..file.len());
        let unpacked = match Image::detect(&file[kernel.clone()]) {
            Err(ImageError::Compressed { .. }) => Some(
                unpacker
                    .unpack(&file[kernel.clone()], "unpacking the kernel's file")
                    .map_err(|source| KernelError::Unpack { path: path.to_owned(), source })?,
            ),
            Ok(_) | Err(_) => None,
        };
        Ok(Self { path, file, kernel, unpacked })
    }

    /// What is in it: the first kind that suits, or the wanted one.
    pub fn image(&self, wanted: Option<ImageType>) -> Result<Image<'_>, KernelError> {
        let bytes = self.unpacked.as_deref().unwrap_or(&self.file[self.kernel.clone()]);
        let path = || self.path.to_owned();
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

/// The kinds that `--type` names; at least one.
fn kinds(image_type: ImageType) -> &'static [Kind] {
    match image_type {
        ImageType::BzImage => &[Kind::BzImage],
        ImageType::Vmlinux => &[Kind::Elf64, Kind::Elf32],
        ImageType::Multiboot => &[Kind::Multiboot],
        ImageType::Multiboot2 => &[Kind::Multiboot2],
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
