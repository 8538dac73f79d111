//! From the dead kernel's virtual addresses to physical ones.

use object::Endian;
use object::elf::EM_X86_64;

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
    X86_64(PageTables),
    /// By the `p_vaddr` of the core's segments, which cover its linear mapping.
    Segments,
}

impl AddressSpace {
    fn of(headers: &Headers) -> Result<Self, Error> {
        if headers.machine == EM_X86_64 && headers.is_64 {
            return Ok(Self::X86_64(PageTables::of(headers)?));
        }
        Ok(Self::Segments)
    }

    fn translate(&self, core: &Vmcore, address: Virtual) -> Result<Physical, Error> {
        match self {
            Self::X86_64(tables) => tables.translate(core, address),
            Self::Segments => {
                let within = |load: &vmcore::Load| {
                    let skip = address.0.checked_sub(load.p_vaddr)?;
                    let inside = load.p_vaddr != 0 && skip < load.p_filesz;
                    inside.then(|| load.p_paddr.checked_add(skip)).flatten()
                };
                let found = core.headers().loads.iter().find_map(within);
                found.map(Physical).ok_or(Error::Unmapped { address: address.0 })
            }
        }
    }
}

/// Start of the kernel's own mapping (Documentation/x86/x86_64/mm.rst, Linux 6.1).
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Bits of an entry (Intel SDM volume 3A, chapter 4.5).
const PRESENT: u64 = 1 << 0;
const PAGE_SIZE_BIT: u64 = 1 << 7;
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;

/// Page tables of x86_64 with 4 or 5 levels.
#[derive(Debug)]
struct PageTables {
    top: u64,
    levels: u32,
    address_bits: u64,
}

impl PageTables {
    fn of(headers: &Headers) -> Result<Self, Error> {
        let info = &headers.info;
        // Before 4.13 the table had another name.
        let name = if info.has_symbol("init_top_pgt") { "init_top_pgt" } else { "init_level4_pgt" };
        let table = info.symbol(name)?.0;
        let unmapped = Error::Unmapped { address: table };
        let in_kernel = table.checked_sub(START_KERNEL_MAP).ok_or(unmapped)?;
        let top = in_kernel.wrapping_add_signed(info.number("phys_base")?);
        // Kernels that do not export these have neither.
        let five_levels = info.number("pgtable_l5_enabled").unwrap_or(0) != 0;
        let sme_mask = info.number("sme_mask").unwrap_or(0).cast_unsigned();
        Ok(Self {
            top,
            levels: if five_levels { 5 } else { 4 },
            address_bits: ADDRESS_BITS & !sme_mask,
        })
    }

    fn translate(&self, core: &Vmcore, address: Virtual) -> Result<Physical, Error> {
        let mut table = self.top;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let index = (address.0 >> shift) & 0x1ff;
            let mut bytes = [0; 8];
            core.read_physical(Physical(table.wrapping_add(index * 8)), &mut bytes)?;
            let entry = u64::from_le_bytes(bytes);
            if entry & PRESENT == 0 {
                return Err(Error::Unmapped { address: address.0 });
            }
            let is_page = level == 0 || (level <= 2 && entry & PAGE_SIZE_BIT != 0);
            if is_page {
                let within = (1 << shift) - 1;
                let page = entry & self.address_bits & !within;
                return Ok(Physical(page | (address.0 & within)));
            }
            table = entry & self.address_bits;
        }
        Err(Error::Unmapped { address: address.0 })
    }
}

#[cfg(test)]
mod tests;
