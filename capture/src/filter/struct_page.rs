//! What a `struct page` says about its page (include/linux/mm_types.h and page-flags.h, Linux
//! 4.19 to 7.1), by the offsets and values in VMCOREINFO.

use object::{Endian, Endianness};

use super::{Level, Note, PageKind};
use crate::vmcore::{Headers, InfoError, VmcoreInfo};

/// Pages of the largest block that is believed: 2^24, which is more than a huge page of any
/// machine has.
pub(super) const MAX_ORDER: u32 = 24;
/// The order of the largest free block that is believed: windows of pages are as large. That of x86
/// is 10, of ppc64 at most 12, of arm64 at most 13 (`ARCH_FORCE_MAX_ORDER` in the Kconfigs of Linux
/// 6.1, which is one more).
const MAX_FREE_ORDER: u32 = 16;
/// Bit of `compound_head` (since 7.1 `compound_info`) in all pages of a compound page but the
/// first.
const TAIL: u64 = 1;
/// Bit of `mapping` if the page is anonymous memory (`PAGE_MAPPING_ANON`).
const ANON: u64 = 1;
/// Size of a `struct page`: no kernel's is smaller or larger.
const SIZES: std::ops::RangeInclusive<u64> = 16..=1024;

/// What one `struct page` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many pages, from this one on, are of one kind.
    Block(PageKind, u64),
    /// The page belongs to one before it.
    Tail,
}

/// How a `struct page` is read. What the dump level does not ask for or the dead kernel does not
/// have is `None`, or 0 if it is a set of bits.
#[derive(Debug)]
pub(super) struct PageLayout {
    endianness: Endianness,
    is_64: bool,
    size: usize,
    flags: usize,
    mapcount: usize,
    compound_head: usize,
    /// Bit of `flags` in the first page of a compound page.
    head: u64,
    order: Order,
    slab: Slab,
    free: Option<Free>,
    cache: Option<Cache>,
    hugetlb: Hugetlb,
    /// Where `mapping` is, if user memory is left out.
    user: Option<usize>,
    /// Bit of `flags`.
    hwpoison: u64,
    /// Value of `_mapcount`.
    offline: Option<u32>,
}

/// Where the order of a compound page is: always in its second `struct page`.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// A byte at this offset.
    Byte(usize),
    /// The low byte of `flags`, since 6.6.
    Flags,
    Unknown,
}

/// How pages of the slab allocator are known, whose other members mean something else.
#[derive(Debug)]
enum Slab {
    /// By a bit of `flags`, before 6.10.
    Flag(u64),
    /// By a value of `_mapcount`.
    Type(u32),
}

#[derive(Debug)]
struct Free {
    /// Value of `_mapcount`.
    buddy: u32,
    /// Value of `_mapcount`, since 6.16: as large as the largest free block.
    unaccepted: Option<u32>,
    /// Where the order of a free block is.
    private: usize,
    largest_order: u32,
}

#[derive(Debug)]
struct Cache {
    mapping: usize,
    lru: u64,
    /// Set together in what is on its way to or from swap space.
    swap: u64,
    private: u64,
    drops_private: bool,
}

/// How hugetlbfs's pages are known.
#[derive(Debug)]
enum Hugetlb {
    /// By a value of `_mapcount`, since 6.9.
    Type(u32),
    /// By a bit of the second page's `flags`, in 6.6 to 6.8.
    Flag(u64),
    /// By a byte of the second page, before 6.6.
    Destructor { offset: usize, value: u8 },
    /// There are none: kernels with them export one of the others.
    None,
}

impl PageLayout {
    /// What `headers` say as far as `level` needs it, and what is missing.
    pub(super) fn new(headers: &Headers, level: Level) -> Result<(Self, Vec<Note>), InfoError> {
        let info = &headers.info;
        let known = Known { info, size: struct_size(info)?, word: word_size(headers) };
        let mut notes = Vec::new();
        let mut known_or_note = |what, reason| notes.push(Note::KindUnknown { what, reason });
        let slab = known.slab();
        let mut layout = Self {
            endianness: headers.endianness,
            is_64: headers.is_64,
            size: known.size,
            flags: known.offset("page.flags")?,
            mapcount: known.offset("page._mapcount")?,
            // Renamed in 7.1.
            compound_head: match known.offset("page.compound_info") {
                Ok(offset) => offset,
                Err(_) => known.offset("page.compound_head")?,
            },
            head: info.number("PG_head_mask")?.cast_unsigned(),
            order: Order::Unknown,
            slab: slab?,
            free: None,
            cache: None,
            hugetlb: Hugetlb::None,
            user: None,
            // Kernels without these two have no such pages.
            hwpoison: known.flag("PG_hwpoison").unwrap_or(0),
            offline: known.page_type("PAGE_OFFLINE_MAPCOUNT_VALUE").ok(),
        };
        match known.order() {
            Ok(order) => layout.order = order,
            Err(reason) => known_or_note("all but the first of the pages of huge pages", reason),
        }
        match known.hugetlb() {
            Ok(hugetlb) => layout.hugetlb = hugetlb,
            Err(reason) => known_or_note("pages of hugetlbfs", reason),
        }
        if level.contains(Level::FREE) {
            match known.free() {
                Ok(free) => layout.free = Some(free),
                Err(reason) => known_or_note("free pages", reason),
            }
        }
        let drops_private = level.contains(Level::CACHE_PRIVATE);
        if drops_private || level.contains(Level::CACHE) {
            match known.cache(drops_private) {
                Ok(cache) => layout.cache = Some(cache),
                Err(reason) => known_or_note("pages of the page cache", reason),
            }
        }
        if level.contains(Level::USER) {
            match known.offset("page.mapping") {
                Ok(mapping) => layout.user = Some(mapping),
                Err(reason) => known_or_note("pages of user processes", reason),
            }
        }
        Ok((layout, notes))
    }

    /// Size of a `struct page` in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Pages of the largest free block.
    pub(super) fn largest_free_block(&self) -> u64 {
        self.free.as_ref().map_or(1, |free| 1 << free.largest_order)
    }

    /// Whether reading the page is deadly: its memory is broken.
    pub(super) fn is_poisoned(&self, page: &[u8]) -> bool {
        self.hwpoison != 0 && self.long(page, self.flags) & self.hwpoison != 0
    }

    /// Whether pages can be [poisoned](Self::is_poisoned) at all.
    pub(super) fn knows_poison(&self) -> bool {
        self.hwpoison != 0
    }

    /// What the `struct page` of `pfn` decides. `second` is the one after it, if there is one.
    pub(super) fn verdict(&self, pfn: u64, page: &[u8], second: Option<&[u8]>) -> Verdict {
        if self.long(page, self.compound_head) & TAIL != 0 {
            return Verdict::Tail;
        }
        let flags = self.long(page, self.flags);
        let mapcount = self.int(page, self.mapcount);
        let is_slab = match self.slab {
            Slab::Flag(bit) => flags & bit != 0,
            Slab::Type(value) => mapcount == value,
        };
        if let Some(free) = self.free.as_ref().filter(|_| !is_slab) {
            let order = if mapcount == free.buddy {
                Some(self.long(page, free.private))
            } else if Some(mapcount) == free.unaccepted {
                Some(free.largest_order.into())
            } else {
                None
            };
            if let Some(order) = order {
                let pages = block(pfn, order).filter(|_| order <= free.largest_order.into());
                return pages.map_or(Verdict::Block(PageKind::Keep, 1), |pages| {
                    Verdict::Block(PageKind::Free, pages)
                });
            }
        }
        let second = second.filter(|second| {
            flags & self.head != 0 && self.long(second, self.compound_head) & TAIL != 0
        });
        let pages = match second.map(|second| self.order(second)) {
            None => 1,
            Some(order) => match block(pfn, order) {
                Some(pages) => pages,
                // Not where such a page can be: the memory map of a huge page shows its beginning
                // again and again (Documentation/mm/vmemmap_dedup.rst, Linux 6.1).
                None if order <= MAX_ORDER.into() => return Verdict::Tail,
                None => 1,
            },
        };
        let kind = if is_slab {
            PageKind::Keep
        } else if self.is_hugetlb(page, second) {
            // Which of its pages is broken is not told here.
            match (self.is_poisoned(page), self.user) {
                (true, _) => PageKind::HwPoison,
                (false, Some(_)) => PageKind::User,
                (false, None) => PageKind::Keep,
            }
        } else if Some(mapcount) == self.offline {
            PageKind::Offline
        } else {
            self.cache_or_user(page, flags)
        };
        Verdict::Block(kind, pages)
    }

    fn cache_or_user(&self, page: &[u8], flags: u64) -> PageKind {
        if let Some(cache) = &self.cache {
            let is_cache = flags & cache.lru != 0 || flags & cache.swap == cache.swap;
            if is_cache && self.long(page, cache.mapping) & ANON == 0 {
                if flags & cache.private == 0 {
                    return PageKind::Cache;
                }
                if cache.drops_private {
                    return PageKind::CachePrivate;
                }
            }
        }
        match self.user {
            Some(mapping) if self.long(page, mapping) & ANON != 0 => PageKind::User,
            Some(_) | None => PageKind::Keep,
        }
    }

    fn is_hugetlb(&self, page: &[u8], second: Option<&[u8]>) -> bool {
        match (&self.hugetlb, second) {
            (Hugetlb::Type(value), _) => self.int(page, self.mapcount) == *value,
            (Hugetlb::Flag(bit), Some(second)) => self.long(second, self.flags) & bit != 0,
            (Hugetlb::Destructor { offset, value }, Some(second)) => {
                second.get(*offset) == Some(value)
            }
            (Hugetlb::Flag(_) | Hugetlb::Destructor { .. }, None) | (Hugetlb::None, _) => false,
        }
    }

    fn order(&self, second: &[u8]) -> u64 {
        match self.order {
            Order::Byte(offset) => second.get(offset).copied().unwrap_or(0).into(),
            Order::Flags => self.long(second, self.flags) & 0xff,
            Order::Unknown => 0,
        }
    }

    /// A `long` of the dead kernel; offsets are within the structure.
    fn long(&self, page: &[u8], offset: usize) -> u64 {
        if !self.is_64 {
            return self.int(page, offset).into();
        }
        let bytes = page.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| self.endianness.read_u64(*bytes))
    }

    fn int(&self, page: &[u8], offset: usize) -> u32 {
        let bytes = page.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| self.endianness.read_u32(*bytes))
    }
}

/// The pages of a block of this order, if one can start at `pfn`.
fn block(pfn: u64, order: u64) -> Option<u64> {
    let pages = 1u64.checked_shl(u32::try_from(order).ok()?)?;
    (order <= MAX_ORDER.into() && pfn.is_multiple_of(pages)).then_some(pages)
}

fn word_size(headers: &Headers) -> usize {
    if headers.is_64 { 8 } else { 4 }
}

fn struct_size(info: &VmcoreInfo) -> Result<usize, InfoError> {
    let value = info.size("page")?;
    let out_of_range = || InfoError::OutOfRange { key: "SIZE(page)".to_owned(), value };
    if SIZES.contains(&value) {
        usize::try_from(value).map_err(|_| out_of_range())
    } else {
        Err(out_of_range())
    }
}

/// VMCOREINFO as far as it is about `struct page`.
struct Known<'a> {
    info: &'a VmcoreInfo,
    /// Size of a `struct page`.
    size: usize,
    /// Size of a `long`.
    word: usize,
}

impl Known<'_> {
    /// Offset of a member of a `struct page` which has at most the size of a `long`.
    fn offset(&self, member: &str) -> Result<usize, InfoError> {
        let value = self.info.offset(member)?;
        let end = usize::try_from(value).ok().and_then(|offset| offset.checked_add(self.word));
        // `_mapcount` may be the last one, with the size of an `int`.
        match end.filter(|end| *end <= self.size + self.word - 4) {
            Some(end) => Ok(end - self.word),
            None => Err(InfoError::OutOfRange { key: format!("OFFSET({member})"), value }),
        }
    }

    fn flag(&self, name: &str) -> Result<u64, InfoError> {
        let value = self.info.number(name)?.cast_unsigned();
        let bit = u32::try_from(value).ok().and_then(|bit| 1u64.checked_shl(bit));
        let out_of_range = || InfoError::OutOfRange { key: format!("NUMBER({name})"), value };
        bit.filter(|bit| self.word == 8 || *bit <= u32::MAX.into()).ok_or_else(out_of_range)
    }

    /// A value of `_mapcount`, which is exported as a signed number of some width.
    fn page_type(&self, name: &str) -> Result<u32, InfoError> {
        let value = self.info.number(name)?;
        let signed = i32::try_from(value).map(i32::cast_unsigned);
        let out_of_range = || InfoError::OutOfRange {
            key: format!("NUMBER({name})"),
            value: value.cast_unsigned(),
        };
        signed.or_else(|_| u32::try_from(value)).map_err(|_| out_of_range())
    }

    fn slab(&self) -> Result<Slab, InfoError> {
        match self.page_type("PAGE_SLAB_MAPCOUNT_VALUE") {
            Err(InfoError::Missing { .. }) => self.flag("PG_slab").map(Slab::Flag),
            other => other.map(Slab::Type),
        }
    }

    fn order(&self) -> Result<Order, InfoError> {
        let info = self.info;
        if info.has_number("PAGE_HUGETLB_MAPCOUNT_VALUE") || info.has_number("PG_hugetlb") {
            return Ok(Order::Flags);
        }
        self.byte_of_second("order").map(Order::Byte)
    }

    fn free(&self) -> Result<Free, InfoError> {
        let key = "zone.free_area";
        let orders = self.info.length(key)?;
        let largest_order = orders.checked_sub(1).and_then(|order| u32::try_from(order).ok());
        let out_of_range =
            || InfoError::OutOfRange { key: format!("LENGTH({key})"), value: orders };
        Ok(Free {
            buddy: self.page_type("PAGE_BUDDY_MAPCOUNT_VALUE")?,
            unaccepted: self.page_type("PAGE_UNACCEPTED_MAPCOUNT_VALUE").ok(),
            private: self.offset("page.private")?,
            largest_order: largest_order
                .filter(|order| *order <= MAX_FREE_ORDER)
                .ok_or_else(out_of_range)?,
        })
    }

    fn cache(&self, drops_private: bool) -> Result<Cache, InfoError> {
        Ok(Cache {
            mapping: self.offset("page.mapping")?,
            lru: self.flag("PG_lru")?,
            swap: self.flag("PG_swapcache")? | self.flag("PG_swapbacked")?,
            private: self.flag("PG_private")?,
            drops_private,
        })
    }

    fn hugetlb(&self) -> Result<Hugetlb, InfoError> {
        let info = self.info;
        if info.has_number("PAGE_HUGETLB_MAPCOUNT_VALUE") {
            return self.page_type("PAGE_HUGETLB_MAPCOUNT_VALUE").map(Hugetlb::Type);
        }
        if info.has_number("PG_hugetlb") {
            return self.flag("PG_hugetlb").map(Hugetlb::Flag);
        }
        let key = "HUGETLB_PAGE_DTOR";
        if !info.has_number(key) {
            return Ok(Hugetlb::None);
        }
        let value = info.number(key)?;
        let out_of_range = |_| InfoError::OutOfRange {
            key: format!("NUMBER({key})"),
            value: value.cast_unsigned(),
        };
        let offset = self.byte_of_second("dtor")?;
        Ok(Hugetlb::Destructor { offset, value: u8::try_from(value).map_err(out_of_range)? })
    }

    /// Offset in the second page of the byte `compound_*`. In 6.3 to 6.5 it is a member of `struct
    /// folio`, which begins with the first page.
    fn byte_of_second(&self, name: &str) -> Result<usize, InfoError> {
        let (key, start) = match self.info.offset(&format!("folio._folio_{name}")) {
            Ok(_) => (format!("folio._folio_{name}"), self.size),
            Err(_) => (format!("page.compound_{name}"), 0),
        };
        let value = self.info.offset(&key)?;
        let offset = usize::try_from(value).ok().and_then(|offset| offset.checked_sub(start));
        let out_of_range = || InfoError::OutOfRange { key: format!("OFFSET({key})"), value };
        offset.filter(|offset| *offset < self.size).ok_or_else(out_of_range)
    }
}
