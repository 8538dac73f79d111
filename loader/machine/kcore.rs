//! /proc/kcore, the running kernel as an ELF core: its program headers tell where the kernel is
//! mapped, its notes hold vmcoreinfo. The memory behind them is never read.

use goblin::{
    container::Ctx,
    elf::{
        Elf,
        note::NoteDataIterator,
        program_header::{PT_LOAD, PT_NOTE, ProgramHeader},
    },
};

use super::{MachineError, Sysroot};
use crate::facts::{Arch, KernelText};
use crate::range::PhysRange;

const KCORE: &str = "proc/kcore";

/// The largest ELF header, that of ELFCLASS64.
const ELF_HEADER_SIZE: u64 = 64;

/// Headers and notes take some pages (one program header for each range of RAM, one task_struct);
/// more than this is no kcore.
const MOST: u64 = 16 << 20;

/// Where the kernel's image has a mapping of its own, above the linear map; elsewhere it is a part
/// of the linear map. (Kernel 6.1 Documentation/x86/x86_64/mm.rst.)
pub const fn image_map(arch: Arch) -> Option<u64> {
    match arch {
        Arch::X86_64 => Some(0xffff_ffff_8000_0000),
        Arch::I386 | Arch::Ppc64le | Arch::Ppc64 => None,
    }
}

/// A /proc/kcore that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum KcoreError {
    /// Not an ELF file, or cut short.
    #[error("its ELF headers cannot be read")]
    Elf(#[from] goblin::error::Error),
    /// Headers or notes of an absurd size.
    #[error("its headers or notes at {offset:#x} claim {size:#x} bytes, more than {MOST:#x}")]
    TooLarge {
        /// File offset.
        offset: u64,
        /// Size in bytes.
        size: u64,
    },
}

/// What kcore's headers and notes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kcore {
    /// The text of the vmcoreinfo note (kernel ≥ 4.19).
    pub vmcoreinfo: Option<String>,
    linear: Vec<Load>,
    image: Vec<Load>,
}

/// A mapping of RAM; those of vmalloc space, modules and vmemmap are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    virt: u64,
    phys: u64,
    size: u64,
}

impl Kcore {
    /// Reads headers and notes; `None` if there is no kcore (CONFIG_PROC_KCORE) or it may not be
    /// read (lockdown "confidentiality"): planning can do without.
    pub fn read(root: &Sysroot, arch: Arch) -> Result<Option<Self>, MachineError> {
        let mut file = match root.open(KCORE) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(MachineError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let malformed = |source| MachineError::Kcore { path: root.path(KCORE), source };

        let header = root.read_at(KCORE, &mut file, 0, ELF_HEADER_SIZE)?;
        let size = headers_size(&header).map_err(malformed)?;
        let headers = root.read_at(KCORE, &mut file, 0, size)?;
        let (mut kcore, notes) = Self::parse_headers(&headers, arch).map_err(malformed)?;
        if let Some(Notes { offset, size, context }) = notes {
            let notes = root.read_at(KCORE, &mut file, offset, size)?;
            kcore.vmcoreinfo = find_vmcoreinfo(&notes, context);
        }
        Ok(Some(kcore))
    }

    /// Virtual address at which the linear map shows physical address 0.
    pub fn page_offset(&self) -> Option<u64> {
        self.linear.iter().filter_map(|load| load.virt.checked_sub(load.phys)).min()
    }

    /// Physical address at which the linear map ends.
    pub fn linear_map_end(&self) -> Option<u64> {
        self.linear.iter().map(|load| load.phys.saturating_add(load.size)).max()
    }

    /// The kernel's image from `_text` to `_end`, where it has a mapping of its own, if it is at
    /// `phys`.
    pub fn kernel_text(&self, phys: u64) -> Option<KernelText> {
        self.image.iter().find(|load| load.phys == phys).map(|load| KernelText {
            virt: load.virt,
            phys: PhysRange::new(load.phys, load.phys.saturating_add(load.size)),
        })
    }

    fn parse_headers(headers: &[u8], arch: Arch) -> Result<(Self, Option<Notes>), KcoreError> {
        let header = Elf::parse_header(headers)?;
        let context = context(&header)?;
        let offset = usize::try_from(header.e_phoff)
            .map_err(|_| KcoreError::TooLarge { offset: header.e_phoff, size: 0 })?;
        let segments = ProgramHeader::parse(headers, offset, usize::from(header.e_phnum), context)?;
        let loads = ram(&segments, context);
        let (image, linear) = loads
            .into_iter()
            .partition(|load| image_map(arch).is_some_and(|start| load.virt >= start));
        let notes = match segments.iter().find(|segment| segment.p_type == PT_NOTE) {
            None => None,
            Some(&ProgramHeader { p_offset: offset, p_filesz: size, .. }) => {
                within_limit(offset, size)?;
                Some(Notes { offset, size, context })
            }
        };
        Ok((Self { vmcoreinfo: None, linear, image }, notes))
    }
}

/// The mappings of RAM. What is not RAM has a physical address of -1. Kernels before 4.11 give no
/// physical addresses: all are 0.
fn ram(segments: &[ProgramHeader], context: Ctx) -> Vec<Load> {
    let none = if context.is_big() { u64::MAX } else { u32::MAX.into() };
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    if loads().all(|load| load.p_paddr == 0) {
        return Vec::new();
    }
    let ram = loads().filter(|load| load.p_paddr != none);
    ram.map(|load| Load { virt: load.p_vaddr, phys: load.p_paddr, size: load.p_memsz }).collect()
}

/// Where the notes are in the file.
struct Notes {
    offset: u64,
    size: u64,
    context: Ctx,
}

/// Size of the ELF header with the program headers.
fn headers_size(header: &[u8]) -> Result<u64, KcoreError> {
    let header = Elf::parse_header(header)?;
    let segments = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    within_limit(header.e_phoff, segments)?;
    Ok(header.e_phoff + segments)
}

fn within_limit(offset: u64, size: u64) -> Result<(), KcoreError> {
    match offset.checked_add(size) {
        Some(end) if end <= MOST => Ok(()),
        _ => Err(KcoreError::TooLarge { offset, size }),
    }
}

fn context(header: &goblin::elf::Header) -> Result<Ctx, goblin::error::Error> {
    Ok(Ctx::new(header.container()?, header.endianness()?))
}

/// The text of the note whose name is VMCOREINFO.
fn find_vmcoreinfo(notes: &[u8], context: Ctx) -> Option<String> {
    let notes = NoteDataIterator { data: notes, size: notes.len(), offset: 0, ctx: (4, context) };
    let note = notes.map_while(Result::ok).find(|note| note.name == "VMCOREINFO")?;
    Some(String::from_utf8_lossy(note.desc).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const BIOS: &str = "tests/fixtures/sysroot-x86_64-debian-6.1";
    const UEFI: &str = "tests/fixtures/sysroot-x86_64-debian-6.1-uefi";

    fn fixture(name: &str) -> Kcore {
        let root = Sysroot::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        Kcore::read(&root, Arch::X86_64).expect("readable").expect("there")
    }

    #[test]
    fn a_real_kcore_gives_the_randomized_page_offset_of_both_paging_modes() {
        // Both are GiB-aligned; 4-level ones are in the top 128 TiB, 5-level ones in the top 64 PiB.
        let four = fixture(BIOS).page_offset().unwrap();
        assert_eq!((four >> 47, four % (1 << 30)), (0x1_ffff, 0));
        let five = fixture(UEFI).page_offset().unwrap();
        assert_eq!((five >> 56, five % (1 << 30)), (0xff, 0));
        assert!(five < 0xffff_8000_0000_0000);
    }

    #[test]
    fn a_real_kcore_holds_vmcoreinfo() {
        let vmcoreinfo = fixture(BIOS).vmcoreinfo.unwrap();
        assert!(vmcoreinfo.starts_with("OSRELEASE=6.1.0-"), "{vmcoreinfo}");
        assert!(vmcoreinfo.ends_with("\n"), "{vmcoreinfo}");
    }

    /// A machine with 6 GiB, of which the kernel maps 895 MiB.
    #[test]
    fn a_32_bit_kcore_gives_the_low_memory() {
        // (type, offset, vaddr, paddr, filesz, memsz, flags, align): vmalloc space, then RAM.
        let vmalloc = [1, 0x3800_3000, 0xf820_0000, u32::MAX, 0x79f_e000, 0x79f_e000, 7, 4096];
        let ram = [1, 0x3000, 0xc000_0000, 0, 0x37f_e000 << 4, 0x37f_e000 << 4, 7, 4096];
        let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
        bytes.resize(16, 0);
        let header: [u16; 18] = [4, 3, 1, 0, 0, 0, 52, 0, 0, 0, 0, 0, 52, 32, 2, 0, 0, 0];
        bytes.extend(header.into_iter().flat_map(u16::to_le_bytes));
        bytes.extend(vmalloc.into_iter().chain(ram).flat_map(u32::to_le_bytes));
        let (kcore, _) = Kcore::parse_headers(&bytes, Arch::I386).unwrap();
        assert_eq!(kcore.page_offset(), Some(0xc000_0000));
        assert_eq!(kcore.linear_map_end(), Some(0x37fe_0000));
        assert_eq!(kcore.kernel_text(0x100_0000), None);
    }

    #[test]
    fn damaged_headers_and_notes_never_panic() {
        let bytes =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(BIOS).join(KCORE)).unwrap();
        for cut in 0..bytes.len().min(0x300) {
            let _ = headers_size(&bytes[..cut]);
            let _ = Kcore::parse_headers(&bytes[..cut], Arch::X86_64);
        }
        for position in 0..0x240 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                let _ = headers_size(&damaged);
                let _ = Kcore::parse_headers(&damaged, Arch::X86_64);
            }
        }
        let (_, notes) = Kcore::parse_headers(&bytes, Arch::X86_64).unwrap();
        let Notes { offset, context, .. } = notes.unwrap();
        let notes = &bytes[usize::try_from(offset).unwrap()..];
        for position in 0..0x200 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = notes.to_vec();
                damaged[position] = value;
                let _ = find_vmcoreinfo(&damaged, context);
            }
        }
    }
}
