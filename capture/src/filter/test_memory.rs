//! Small memories of dead kernels, with a memory map of each model and `struct page`s of each
//! kernel version.

use object::elf::EM_X86_64;
use object::{Endian, Endianness};

use crate::test_core::{TestCore, poke};

/// Pages that there is a `struct page` of.
pub(super) const PAGES: u64 = 512;
/// Of free blocks.
pub(super) const LARGEST_ORDER: u64 = 6;

/// What is in the memory, all of it at these physical addresses.
const SIZE: usize = 0x3_0000;
const TABLES: u64 = 0x1000;
const SECTIONS: u64 = 0x1_0000;
const STRUCT_PAGES: u64 = 0x2_0000;

/// How the kernel finds its `struct page`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// x86_64 with a virtual memory map in pages of 4 KiB, each before the one that it follows.
    Vmemmap,
    /// x86_64 with an array for each section.
    Sections,
    /// i386 with PAE and one array.
    Flat,
    /// i386 with two nodes.
    Nodes,
    /// i386 with an array for each section.
    StaticSections,
    /// POWER with the hash MMU.
    Hash(Endianness),
    /// POWER with the radix MMU and pages of 4 or 64 KiB.
    Radix(Endianness, u64),
}

impl Model {
    pub(super) const ALL: [Self; 10] = [
        Self::Vmemmap,
        Self::Sections,
        Self::Flat,
        Self::Nodes,
        Self::StaticSections,
        Self::Hash(Endianness::Little),
        Self::Hash(Endianness::Big),
        Self::Radix(Endianness::Little, 0x1000),
        Self::Radix(Endianness::Little, 0x1_0000),
        Self::Radix(Endianness::Big, 0x1_0000),
    ];

    fn is_64(self) -> bool {
        !matches!(self, Self::Flat | Self::Nodes | Self::StaticSections)
    }

    fn endianness(self) -> Endianness {
        match self {
            Self::Hash(endianness) | Self::Radix(endianness, _) => endianness,
            Self::Vmemmap | Self::Sections | Self::Flat | Self::Nodes | Self::StaticSections => {
                Endianness::Little
            }
        }
    }

    fn page_size(self) -> u64 {
        match self {
            Self::Hash(_) => 0x1_0000,
            Self::Radix(_, page_size) => page_size,
            Self::Vmemmap | Self::Sections | Self::Flat | Self::Nodes | Self::StaticSections => {
                0x1000
            }
        }
    }

    /// Pages of a section; there is a memory map for at least `PAGES`.
    fn section_size_bits(self) -> u32 {
        match self {
            Self::Vmemmap | Self::Sections => 27,
            Self::Flat | Self::Nodes | Self::StaticSections => 29,
            Self::Hash(_) | Self::Radix(..) => 24,
        }
    }
}

/// Kernels by the version in which they began to say differently what a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kernel {
    V4_19,
    V6_3,
    V6_6,
    V6_9,
    V6_10,
    V6_12,
    V6_16,
    V7_1,
}

impl Kernel {
    pub(super) const ALL: [Self; 8] = [
        Self::V4_19,
        Self::V6_3,
        Self::V6_6,
        Self::V6_9,
        Self::V6_10,
        Self::V6_12,
        Self::V6_16,
        Self::V7_1,
    ];

    /// Values of `_mapcount`: one bit cleared before 6.12, then a number in the highest byte.
    fn page_type(self, bit: u32, number: i32) -> i32 {
        if self < Self::V6_12 { !(1 << bit) } else { number << 24 }
    }

    fn buddy(self) -> i32 {
        self.page_type(7, 0xf0)
    }

    fn offline(self) -> i32 {
        self.page_type(8, 0xf1)
    }

    fn hugetlb(self) -> i32 {
        self.page_type(11, 0xf4)
    }

    fn slab(self) -> i32 {
        self.page_type(12, 0xf5)
    }

    fn unaccepted(self) -> i32 {
        self.page_type(13, 0xf7)
    }
}

const PG_LRU: u32 = 4;
const PG_HUGETLB: u32 = 8;
const PG_SLAB: u32 = 9;
const PG_SWAPCACHE: u32 = 10;
const PG_PRIVATE: u32 = 13;
const PG_HEAD: u32 = 16;
const PG_SWAPBACKED: u32 = 19;
const PG_HWPOISON: u32 = 22;
const HUGETLB_DTOR: u8 = 2;

/// Offsets in a `struct page`.
struct Offsets {
    size: u64,
    head: u64,
    second_bytes: u64,
    mapping: u64,
    private: u64,
    mapcount: u64,
}

/// A memory to be filled.
pub(super) struct TestMemory {
    model: Model,
    kernel: Kernel,
    offsets: Offsets,
    bytes: Vec<u8>,
    info: String,
}

impl TestMemory {
    /// Pages of the kernel that are nothing in particular.
    pub(super) fn new(model: Model, kernel: Kernel) -> Self {
        // As on real kernels of these kinds, big-endian: without memory control groups.
        let offsets = match (model.is_64(), model.endianness()) {
            (false, _) => Offsets {
                size: 40,
                head: 4,
                second_bytes: 8,
                mapping: 12,
                private: 20,
                mapcount: 24,
            },
            (true, endianness) => Offsets {
                size: if endianness.is_big_endian() { 56 } else { 64 },
                head: 8,
                second_bytes: 16,
                mapping: 24,
                private: 40,
                mapcount: 48,
            },
        };
        let bytes = vec![0; SIZE];
        let mut memory = Self { model, kernel, offsets, bytes, info: String::new() };
        memory.info = memory.page_info();
        match model {
            Model::Vmemmap | Model::Sections => memory.map_x86_64(),
            Model::Flat | Model::Nodes | Model::StaticSections => memory.map_i386(),
            Model::Hash(_) | Model::Radix(..) => memory.map_power(),
        }
        for pfn in 0..PAGES {
            memory.put_mapcount(pfn, -1);
        }
        memory
    }

    pub(super) fn free(&mut self, pfn: u64, order: u64) {
        self.put_mapcount(pfn, self.kernel.buddy());
        self.put_long(pfn, self.offsets.private, order);
    }

    /// Free, but not accepted from the hypervisor yet; false where kernels cannot say so.
    pub(super) fn unaccepted(&mut self, pfn: u64) -> bool {
        self.put_mapcount(pfn, self.kernel.unaccepted());
        self.kernel >= Kernel::V6_16
    }

    /// Slab memory, whose other member stands where `mapping` is.
    pub(super) fn slab(&mut self, pfn: u64, order: u64) {
        if self.kernel < Kernel::V6_10 {
            self.add_flags(pfn, 1 << PG_SLAB);
        } else {
            self.put_mapcount(pfn, self.kernel.slab());
        }
        self.put_long(pfn, self.offsets.mapping, 0x8001);
        self.compound(pfn, order);
    }

    pub(super) fn cache(&mut self, pfn: u64, is_private: bool) {
        self.add_flags(pfn, 1 << PG_LRU | u64::from(is_private) << PG_PRIVATE);
        self.put_long(pfn, self.offsets.mapping, 0x8000);
    }

    /// On its way to swap space, if both flags are set.
    pub(super) fn swap(&mut self, pfn: u64, is_in_cache: bool, is_backed: bool) {
        let flags = u64::from(is_in_cache) << PG_SWAPCACHE | u64::from(is_backed) << PG_SWAPBACKED;
        self.add_flags(pfn, flags);
    }

    /// Anonymous memory of a process, in a page or a huge page.
    pub(super) fn anonymous(&mut self, pfn: u64, order: u64) {
        self.add_flags(pfn, 1 << PG_LRU | 1 << PG_SWAPBACKED);
        self.put_long(pfn, self.offsets.mapping, 0x8001);
        self.compound(pfn, order);
    }

    pub(super) fn hugetlb(&mut self, pfn: u64, order: u64) {
        self.compound(pfn, order);
        match self.kernel {
            Kernel::V4_19 | Kernel::V6_3 => {
                let at = self.struct_page(pfn + 1) + self.offsets.second_bytes;
                poke(&mut self.bytes, at, &[HUGETLB_DTOR]);
            }
            Kernel::V6_6 => self.add_flags(pfn + 1, 1 << PG_HUGETLB),
            Kernel::V6_9 | Kernel::V6_10 | Kernel::V6_12 | Kernel::V6_16 | Kernel::V7_1 => {
                self.put_mapcount(pfn, self.kernel.hugetlb());
            }
        }
    }

    /// Shows the beginning of the huge page at `pfn` all over its memory map, as the kernel does to
    /// save memory.
    pub(super) fn deduplicate(&mut self, pfn: u64, order: u64) {
        let shown = 64 * self.offsets.size;
        let start = self.struct_page(pfn);
        for copy in 1..(1 << order) / 64 {
            let head = usize::try_from(start).unwrap();
            let again = self.bytes[head..head + usize::try_from(shown).unwrap()].to_vec();
            poke(&mut self.bytes, start + copy * shown, &again);
        }
    }

    pub(super) fn compound(&mut self, pfn: u64, order: u64) {
        if order == 0 {
            return;
        }
        self.add_flags(pfn, 1 << PG_HEAD);
        for tail in pfn + 1..pfn + (1 << order) {
            self.put_long(tail, self.offsets.head, 0x8001);
        }
        let order = u8::try_from(order).unwrap();
        if self.kernel < Kernel::V6_6 {
            let at = self.struct_page(pfn + 1) + self.offsets.second_bytes + 1;
            poke(&mut self.bytes, at, &[order]);
        } else {
            self.add_flags(pfn + 1, order.into());
        }
    }

    pub(super) fn offline(&mut self, pfn: u64) {
        self.put_mapcount(pfn, self.kernel.offline());
    }

    pub(super) fn poison(&mut self, pfn: u64) {
        self.add_flags(pfn, 1 << PG_HWPOISON);
    }

    /// The core of it, with this VMCOREINFO.
    pub(super) fn core_with(&self, info: &str) -> TestCore {
        let core = match self.model {
            Model::Vmemmap | Model::Sections => {
                TestCore { machine: EM_X86_64, ..TestCore::new(info) }
            }
            Model::Flat | Model::Nodes | Model::StaticSections => TestCore::i386(info),
            Model::Hash(_) | Model::Radix(..) => {
                TestCore { endianness: self.model.endianness(), ..TestCore::power(info) }
            }
        };
        let virt = if self.model.is_64() { 0 } else { 0xc000_0000 };
        let core = core.load(0, virt, self.bytes.clone());
        // There is RAM in all sections.
        let section: u64 = 1 << self.model.section_size_bits();
        let others =
            (section..PAGES * self.model.page_size()).step_by(1 << self.model.section_size_bits());
        others.fold(core, |core, start| core.load(start, 0, [0; 16]))
    }

    pub(super) fn core(&self) -> TestCore {
        self.core_with(&self.info)
    }

    pub(super) fn info(&self) -> &str {
        &self.info
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Makes the list of vmemmap, of the hash MMU, a ring.
    pub(super) fn loop_vmemmap_list(&mut self) {
        let first = self.word(TABLES);
        self.put_word(first & 0xffff_ffff, first);
    }

    fn page_info(&self) -> String {
        let Offsets { size, head, second_bytes, mapping, private, mapcount } = self.offsets;
        let kernel = self.kernel;
        let head_name = if kernel < Kernel::V7_1 { "head" } else { "info" };
        let mut info = format!(
            "PAGESIZE={}\nSIZE(page)={size}\nOFFSET(page.flags)=0\nOFFSET(page.mapping)={mapping}\n\
             OFFSET(page._mapcount)={mapcount}\nOFFSET(page.private)={private}\n\
             OFFSET(page.compound_{head_name})={head}\nLENGTH(zone.free_area)={}\n\
             NUMBER(PG_lru)={PG_LRU}\nNUMBER(PG_private)={PG_PRIVATE}\n\
             NUMBER(PG_swapcache)={PG_SWAPCACHE}\nNUMBER(PG_swapbacked)={PG_SWAPBACKED}\n\
             NUMBER(PG_hwpoison)={PG_HWPOISON}\nNUMBER(PG_head_mask)={}\n\
             NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)={}\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)={}\n",
            self.model.page_size(),
            LARGEST_ORDER + 1,
            1 << PG_HEAD,
            kernel.buddy(),
            kernel.offline(),
        );
        info += &match kernel {
            Kernel::V4_19 => format!(
                "NUMBER(HUGETLB_PAGE_DTOR)={HUGETLB_DTOR}\n\
                 OFFSET(page.compound_dtor)={second_bytes}\n\
                 OFFSET(page.compound_order)={}\n",
                second_bytes + 1
            ),
            Kernel::V6_3 => format!(
                "NUMBER(HUGETLB_PAGE_DTOR)={HUGETLB_DTOR}\n\
                 OFFSET(folio._folio_dtor)={}\nOFFSET(folio._folio_order)={}\n",
                size + second_bytes,
                size + second_bytes + 1
            ),
            Kernel::V6_6 => format!("NUMBER(PG_hugetlb)={PG_HUGETLB}\n"),
            Kernel::V6_9 | Kernel::V6_10 | Kernel::V6_12 | Kernel::V6_16 | Kernel::V7_1 => {
                format!("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)={}\n", kernel.hugetlb())
            }
        };
        info += &if kernel < Kernel::V6_10 {
            format!("NUMBER(PG_slab)={PG_SLAB}\n")
        } else {
            format!("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)={}\n", kernel.slab())
        };
        if kernel >= Kernel::V6_16 {
            info += &format!("NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)={}\n", kernel.unaccepted());
        }
        info
    }

    fn map_x86_64(&mut self) {
        const DIRECT: u64 = 0xffff_8880_0000_0000;
        const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
        let entry = |table: u64, index: u64, to: u64| (TABLES + table * 0x1000 + index * 8, to | 1);
        let table = |number: u64| TABLES + number * 0x1000;
        let large = 1 << 7;
        let mut entries = vec![
            entry(0, 0x111, table(1)),
            entry(1, 0, large), // 1 GiB at 0
            entry(0, 0x1d4, table(2)),
            entry(2, 0, table(3)),
            entry(3, 0, table(4)),
        ];
        let pages = (PAGES * self.offsets.size).div_ceil(0x1000);
        entries.extend(
            (0..pages).map(|page| entry(4, page, STRUCT_PAGES + (pages - 1 - page) * 0x1000)),
        );
        for (at, entry) in entries {
            poke(&mut self.bytes, at, &entry.to_le_bytes());
        }
        self.info += "SYMBOL(init_top_pgt)=ffffffff80001000\nNUMBER(phys_base)=0\n";
        let map = if self.model == Model::Vmemmap { VMEMMAP } else { DIRECT + STRUCT_PAGES };
        self.put_sections(DIRECT, map);
    }

    fn map_i386(&mut self) {
        const LOW: u64 = 0xc000_0000;
        let bytes = &mut self.bytes;
        poke(bytes, TABLES + 3 * 8, &((TABLES + 0x1000) | 1).to_le_bytes());
        poke(bytes, TABLES + 0x1000, &(1u64 | 1 << 7).to_le_bytes()); // 2 MiB at 0
        self.info += "SYMBOL(swapper_pg_dir)=c0001000\nCONFIG_X86_PAE=y\n";
        if self.model == Model::StaticSections {
            self.put_sections(LOW, LOW + STRUCT_PAGES);
            return;
        }
        self.info += "OFFSET(pglist_data.node_mem_map)=8\nOFFSET(pglist_data.node_start_pfn)=16\n\
                      OFFSET(pglist_data.node_spanned_pages)=20\n";
        let nodes: &[(u64, u64)] = if self.model == Model::Flat {
            self.info += &format!("SYMBOL(contig_page_data)={:x}\n", LOW + SECTIONS + 0x100);
            &[(0, PAGES)]
        } else {
            self.info += &format!("SYMBOL(node_data)={:x}\nLENGTH(node_data)=4\n", LOW + SECTIONS);
            &[(0, PAGES / 2), (PAGES / 2, PAGES / 2)]
        };
        for (number, (first, pages)) in (0..).zip(nodes) {
            let node = SECTIONS + 0x100 * (number + 1);
            // The second pointer of the array is that of a node which is not there.
            self.put_word(SECTIONS + number * 8, LOW + node);
            self.put_word(node + 8, LOW + STRUCT_PAGES + first * self.offsets.size);
            self.put_word(node + 16, *first);
            self.put_word(node + 20, *pages);
        }
    }

    fn map_power(&mut self) {
        const LINEAR: u64 = 0xc000_0000_0000_0000;
        const VMEMMAP: u64 = 0xc00c_0000_0000_0000;
        match self.model {
            Model::Radix(_, page_size) => {
                let page_bits = if page_size == 0x1000 { 9 } else { 5 };
                let present = 1u64 << 63;
                let tables = TABLES + 0x1000;
                let shift = page_size.trailing_zeros() + page_bits + 9 + 9;
                let index = (VMEMMAP >> shift) & 0x1fff;
                for (at, entry) in [
                    // The first table is 64 KiB long.
                    (tables + index * 8, SECTIONS + 0x8000),
                    (SECTIONS + 0x8000, SECTIONS + 0x9000),
                    (SECTIONS + 0x9000, 1 << 62), // 2 MiB at 0
                ] {
                    poke(&mut self.bytes, at, &(entry | present).to_be_bytes());
                }
                self.info += &format!("SYMBOL(swapper_pg_dir)={:x}\n", LINEAR + tables);
                self.put_sections(LINEAR, VMEMMAP + STRUCT_PAGES);
            }
            Model::Hash(_) => {
                let definitions = TABLES + 0x100;
                let entry = TABLES + 0x800;
                self.info += &format!(
                    "SYMBOL(vmemmap_list)={:x}\nSYMBOL(mmu_vmemmap_psize)={:x}\n\
                     SYMBOL(mmu_psize_defs)={:x}\nSIZE(mmu_psize_def)=96\n\
                     OFFSET(mmu_psize_def.shift)=0\nSIZE(vmemmap_backing)=24\n\
                     OFFSET(vmemmap_backing.list)=0\nOFFSET(vmemmap_backing.phys)=8\n\
                     OFFSET(vmemmap_backing.virt_addr)=16\n",
                    LINEAR + TABLES,
                    LINEAR + TABLES + 8,
                    LINEAR + definitions,
                );
                self.put_word(TABLES, LINEAR + entry);
                self.put_int(TABLES + 8, 5);
                self.put_int(definitions + 5 * 96, 16);
                // Pages of 64 KiB, the last one first.
                let pages = (PAGES * self.offsets.size).div_ceil(0x1_0000);
                for page in 0..pages {
                    let at = entry + page * 24;
                    let next = if page + 1 < pages { LINEAR + at + 24 } else { 0 };
                    let map = (pages - 1 - page) * 0x1_0000;
                    self.put_word(at, next);
                    self.put_word(at + 8, STRUCT_PAGES + map);
                    self.put_word(at + 16, VMEMMAP + map);
                }
                self.put_sections(LINEAR, VMEMMAP);
            }
            Model::Vmemmap
            | Model::Sections
            | Model::Flat
            | Model::Nodes
            | Model::StaticSections => {}
        }
    }

    /// As many sections as `PAGES` need, with a memory map from `map` on; `direct` is where
    /// physical memory is mapped.
    fn put_sections(&mut self, direct: u64, map: u64) {
        let size = if self.model.is_64() { 16 } else { 8 };
        let is_static = self.model == Model::StaticSections;
        let bits = self.model.section_size_bits();
        let pages = (1 << bits) / self.model.page_size();
        let array = if is_static { SECTIONS } else { SECTIONS + 0x1000 };
        if !is_static {
            self.put_word(SECTIONS, direct + array);
        }
        // Not what is beyond the memory in the core.
        for section in 0..PAGES.div_ceil(pages) {
            let flags = 0b1111;
            self.put_word(array + section * size, map | flags);
        }
        self.info += &format!(
            "SYMBOL(mem_section)={:x}\nLENGTH(mem_section)=4\nSIZE(mem_section)={size}\n\
             OFFSET(mem_section.section_mem_map)=0\n",
            direct + SECTIONS
        );
        // Older kernels do not say it.
        if self.kernel > Kernel::V4_19 {
            self.info += &format!("NUMBER(SECTION_SIZE_BITS)={bits}\n");
        }
    }

    /// Physical address of a `struct page`.
    fn struct_page(&self, pfn: u64) -> u64 {
        let at = pfn * self.offsets.size;
        if self.model == Model::Vmemmap {
            let last = (PAGES * self.offsets.size).div_ceil(0x1000) - 1;
            return STRUCT_PAGES + (last - at / 0x1000) * 0x1000 + at % 0x1000;
        }
        STRUCT_PAGES + at
    }

    fn add_flags(&mut self, pfn: u64, flags: u64) {
        let at = self.struct_page(pfn);
        let old = self.word(at);
        self.put_word(at, old | flags);
    }

    fn put_long(&mut self, pfn: u64, offset: u64, value: u64) {
        self.put_word(self.struct_page(pfn) + offset, value);
    }

    fn put_mapcount(&mut self, pfn: u64, value: i32) {
        self.put_int(self.struct_page(pfn) + self.offsets.mapcount, value.cast_unsigned());
    }

    fn word(&self, at: u64) -> u64 {
        let bytes = &self.bytes[usize::try_from(at).unwrap()..];
        let endianness = self.model.endianness();
        if self.model.is_64() {
            endianness.read_u64(*bytes.first_chunk().unwrap())
        } else {
            endianness.read_u32(*bytes.first_chunk().unwrap()).into()
        }
    }

    fn put_word(&mut self, at: u64, value: u64) {
        if self.model.is_64() {
            poke(&mut self.bytes, at, &self.model.endianness().write_u64(value));
        } else {
            self.put_int(at, u32::try_from(value).unwrap());
        }
    }

    fn put_int(&mut self, at: u64, value: u32) {
        poke(&mut self.bytes, at, &self.model.endianness().write_u32(value));
    }
}
