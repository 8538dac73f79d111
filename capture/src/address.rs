//! From the dead kernel's virtual addresses to physical ones.

mod page_cache;
mod page_tables;
mod power;

use std::sync::Arc;

use object::Endian;
use object::elf::{EM_386, EM_PPC64, EM_X86_64};

use page_cache::PageCache;
use page_tables::PageTables;
use power::PowerSpace;

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

/// Memory that is contiguous in physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub start: Physical,
    /// In bytes.
    pub length: u64,
}

/// The dead kernel's memory by virtual address.
#[derive(Debug)]
pub struct KernelMemory<'a> {
    space: Arc<AddressSpace>,
    cache: PageCache<'a>,
}

impl<'a> KernelMemory<'a> {
    /// The memory in `core`.
    pub fn new(core: &'a Vmcore) -> Result<Self, Error> {
        Ok(Self::within(core, Arc::new(AddressSpace::of(core)?)))
    }

    /// The memory in `core`, whose address space is known already.
    pub(crate) fn within(core: &'a Vmcore, space: Arc<AddressSpace>) -> Self {
        Self { space, cache: PageCache::new(core) }
    }

    /// How its addresses are translated.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// What the headers of the core say.
    pub fn headers(&self) -> &'a Headers {
        self.cache.core().headers()
    }

    /// Fills `buffer` with the memory at `address`. For a few bytes: what is read is kept.
    pub fn read(&mut self, address: Virtual, mut buffer: &mut [u8]) -> Result<(), Error> {
        let mut address = address;
        while !buffer.is_empty() {
            let extent = self.space.translate(&mut self.cache, address)?;
            let most = usize::try_from(extent.length).unwrap_or(usize::MAX).min(buffer.len());
            let found = self.cache.read(extent.start, most)?;
            let (now, later) = buffer.split_at_mut(found.len());
            now.copy_from_slice(found);
            let length = now.len() as u64;
            buffer = later;
            if !buffer.is_empty() {
                address = address.plus(length)?;
            }
        }
        Ok(())
    }

    /// Fills `buffer` with the memory at `address`, and returns how many bytes of it from the
    /// start could be read. For much memory at once: page tables are walked, but what lies
    /// together is read together.
    pub(crate) fn read_much(&mut self, address: Virtual, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let Ok(extent) = self.extent(address, done, rest.len()) else { break };
            let length = usize::try_from(extent.length).unwrap_or(usize::MAX).min(rest.len());
            if self.cache.core().read_physical(extent.start, &mut rest[..length]).is_err() {
                break;
            }
            done += length;
        }
        done
    }

    /// The physically contiguous memory `skip` bytes after `start`, at least `wanted` bytes of it
    /// if there are that many.
    fn extent(&mut self, start: Virtual, skip: usize, wanted: usize) -> Result<Extent, Error> {
        let address = start.plus(skip as u64)?;
        let mut extent = self.space.translate(&mut self.cache, address)?;
        while extent.length < wanted as u64 {
            let Ok(next) = address.plus(extent.length) else { break };
            let end = extent.start.0.checked_add(extent.length);
            match self.space.translate(&mut self.cache, next) {
                Ok(more) if Some(more.start.0) == end => {
                    extent.length = extent.length.saturating_add(more.length)
                }
                Ok(_) | Err(_) => break,
            }
        }
        Ok(extent)
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
}

/// How the dead kernel's addresses are translated.
#[derive(Debug)]
pub(crate) enum AddressSpace {
    /// By its page tables.
    PageTables(PageTables),
    /// As 64-bit POWER does.
    Power(PowerSpace),
    /// By the `p_vaddr` of the core's segments, which cover its linear mapping.
    Segments,
}

impl AddressSpace {
    fn of(core: &Vmcore) -> Result<Self, Error> {
        let headers = core.headers();
        match headers.machine {
            EM_X86_64 => Ok(Self::PageTables(PageTables::x86_64(headers)?)),
            EM_386 => Ok(Self::PageTables(PageTables::i386(headers)?)),
            EM_PPC64 => Ok(Self::Power(PowerSpace::new(headers, &mut PageCache::new(core)))),
            _ => Ok(Self::Segments),
        }
    }

    /// The memory at `address`, as far as it is contiguous by what was looked at.
    fn translate(&self, cache: &mut PageCache<'_>, address: Virtual) -> Result<Extent, Error> {
        match self {
            Self::PageTables(tables) => tables.translate(cache, address),
            Self::Power(space) => space.translate(cache, address),
            Self::Segments => {
                let within = |load: &vmcore::Load| {
                    let skip = address.0.checked_sub(load.virtual_start()?.0)?;
                    let length = load.p_filesz.checked_sub(skip).filter(|length| *length > 0)?;
                    // In range: the parser added the whole length.
                    Some(Extent { start: Physical(load.p_paddr + skip), length })
                };
                let found = cache.core().headers().loads.iter().find_map(within);
                found.ok_or(Error::Unmapped { address: address.0 })
            }
        }
    }
}

#[cfg(test)]
mod tests;
