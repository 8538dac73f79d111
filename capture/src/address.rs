//! From the dead kernel's virtual addresses to physical ones.

mod page_tables;

use object::Endian;
use object::elf::{EM_386, EM_PPC64, EM_X86_64};

use page_tables::PageTables;

use crate::vmcore::{self, Headers, InfoError, Vmcore};

/// A physical address of the dead kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Physical(pub u64);

/// A virtual address of the dead kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Virtual(pub u64);

impl Virtual {
    /// The address `offset` bytes further.
    pub fn plus(self, offset: u64) -> Result<Self, Error> {
        self.0.checked_add(offset).map(Self).ok_or(Error::Unmapped { address: self.0 })
    }
}

/// Why memory at a virtual address cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is needed for the translation is not there.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// The core has no such memory or cannot be read.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The dead kernel had nothing there.
    #[error("the dead kernel had no memory at virtual address {address:#x}")]
    Unmapped {
        /// The address.
        address: u64,
    },
}

/// Pages whose content is kept. The log is read from three arrays at once; the rest is slack.
const KEPT_PAGES: usize = 8;
/// What is read at once: no kernel has smaller pages.
const PAGE_SIZE: usize = 4096;

/// The dead kernel's memory by virtual address.
#[derive(Debug)]
pub struct KernelMemory<'a> {
    core: &'a Vmcore,
    space: AddressSpace,
    /// Page addresses and contents, oldest first.
    pages: Vec<(u64, Vec<u8>)>,
}

impl<'a> KernelMemory<'a> {
    /// The memory in `core`.
    pub fn new(core: &'a Vmcore) -> Result<Self, Error> {
        Ok(Self { core, space: AddressSpace::of(core.headers())?, pages: Vec::new() })
    }

    /// What the headers of the core say.
    pub fn headers(&self) -> &'a Headers {
        self.core.headers()
    }

    /// Fills `buffer` with the memory at `address`.
    pub fn read(&mut self, address: Virtual, mut buffer: &mut [u8]) -> Result<(), Error> {
        let mut address = address;
        while !buffer.is_empty() {
            let in_page = address.0 % PAGE_SIZE as u64;
            let page = self.page(Virtual(address.0 - in_page))?;
            let available = &page[usize::try_from(in_page).unwrap_or_default()..];
            let length = buffer.len().min(available.len());
            let (now, later) = buffer.split_at_mut(length);
            now.copy_from_slice(&available[..length]);
            buffer = later;
            if !buffer.is_empty() {
                address = address.plus(length as u64)?;
            }
        }
        Ok(())
    }

    /// A 16-bit number at `address`.
    pub fn read_u16(&mut self, address: Virtual) -> Result<u16, Error> {
        Ok(self.headers().endianness.read_u16(self.read_array(address)?))
    }

    /// A 32-bit number at `address`.
    pub fn read_u32(&mut self, address: Virtual) -> Result<u32, Error> {
        Ok(self.headers().endianness.read_u32(self.read_array(address)?))
    }

    /// A 64-bit number at `address`.
    pub fn read_u64(&mut self, address: Virtual) -> Result<u64, Error> {
        Ok(self.headers().endianness.read_u64(self.read_array(address)?))
    }

    /// A `long` or a pointer of the dead kernel at `address`.
    pub fn read_long(&mut self, address: Virtual) -> Result<u64, Error> {
        if self.headers().is_64 {
            self.read_u64(address)
        } else {
            self.read_u32(address).map(u64::from)
        }
    }

    fn read_array<const N: usize>(&mut self, address: Virtual) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    fn page(&mut self, address: Virtual) -> Result<&[u8], Error> {
        let at = match self.pages.iter().position(|(kept, _)| *kept == address.0) {
            Some(at) => at,
            None => {
                let physical = self.space.translate(self.core, address)?;
                let mut page = vec![0; PAGE_SIZE];
                self.core.read_physical(physical, &mut page)?;
                if self.pages.len() == KEPT_PAGES {
                    self.pages.remove(0);
                }
                self.pages.push((address.0, page));
                self.pages.len() - 1
            }
        };
        Ok(&self.pages[at].1)
    }
}

/// How the dead kernel's addresses are translated.
#[derive(Debug)]
enum AddressSpace {
    /// By its page tables.
    PageTables(PageTables),
    /// By the linear mapping of all RAM, which starts here.
    Linear(Virtual),
    /// By the `p_vaddr` of the core's segments, which cover its linear mapping.
    Segments,
}

/// Start of the linear mapping of 64-bit POWER, on every kernel
/// (arch/powerpc/Kconfig, `PAGE_OFFSET`, Linux 6.1). The kernel itself runs there too.
const POWER_PAGE_OFFSET: Virtual = Virtual(0xc000_0000_0000_0000);

impl AddressSpace {
    fn of(headers: &Headers) -> Result<Self, Error> {
        match headers.machine {
            EM_X86_64 => Ok(Self::PageTables(PageTables::x86_64(headers)?)),
            EM_386 => Ok(Self::PageTables(PageTables::i386(headers)?)),
            EM_PPC64 => Ok(Self::Linear(POWER_PAGE_OFFSET)),
            _ => Ok(Self::Segments),
        }
    }

    fn translate(&self, core: &Vmcore, address: Virtual) -> Result<Physical, Error> {
        let unmapped = Error::Unmapped { address: address.0 };
        match self {
            Self::PageTables(tables) => tables.translate(core, address),
            Self::Linear(start) => address.0.checked_sub(start.0).map(Physical).ok_or(unmapped),
            Self::Segments => {
                let within = |load: &vmcore::Load| {
                    let skip = address.0.checked_sub(load.p_vaddr)?;
                    let inside = load.p_vaddr != 0 && skip < load.p_filesz;
                    inside.then(|| load.p_paddr.checked_add(skip)).flatten()
                };
                let found = core.headers().loads.iter().find_map(within);
                found.map(Physical).ok_or(unmapped)
            }
        }
    }
}

#[cfg(test)]
mod tests;
