use super::test_memory::{Kernel, LARGEST_ORDER, Model, PAGES, TestMemory};
use super::*;
use crate::test_core::TestCore;

fn classify(core: &Vmcore, level: Level, window: u64) -> (Vec<PageKind>, Vec<String>) {
    let filter = PageFilter::new(core, level);
    let mut kinds = vec![PageKind::User; usize::try_from(PAGES).unwrap()];
    let windows = kinds.chunks_mut(usize::try_from(window).unwrap());
    for (number, kinds) in (0..).zip(windows) {
        filter.classify(number * window, kinds);
    }
    (kinds, filter.notes())
}

fn opened(core: &TestCore) -> Vmcore {
    let (_file, core) = core.open();
    core
}

/// Pages of every kind, and what is expected of them.
fn populate(memory: &mut TestMemory) -> Vec<PageKind> {
    let mut expected = vec![PageKind::Keep; usize::try_from(PAGES).unwrap()];
    let mut expect = |pfns: Range<u64>, kind| {
        let index = |pfn| usize::try_from(pfn).unwrap();
        expected[index(pfns.start)..index(pfns.end)].fill(kind);
    };
    memory.free(16, 4);
    expect(16..32, PageKind::Free);
    memory.free(33, 0);
    expect(33..34, PageKind::Free);
    // Larger than any block, and not aligned to its size.
    memory.free(0, LARGEST_ORDER + 1);
    memory.free(35, 1);
    memory.slab(36, 2);
    memory.cache(40, false);
    expect(40..41, PageKind::Cache);
    memory.cache(41, true);
    expect(41..42, PageKind::CachePrivate);
    memory.swap(42, true, true);
    expect(42..43, PageKind::Cache);
    memory.swap(43, true, false);
    memory.swap(44, false, true);
    memory.anonymous(45, 0);
    expect(45..46, PageKind::User);
    memory.offline(46);
    expect(46..47, PageKind::Offline);
    memory.poison(47);
    expect(47..48, PageKind::HwPoison);
    // A kernel's own large page with broken memory in the midst.
    memory.compound(64, 4);
    memory.poison(70);
    expect(70..71, PageKind::HwPoison);
    memory.anonymous(80, 4);
    expect(80..96, PageKind::User);
    // Larger than a window.
    memory.anonymous(128, 7);
    expect(128..256, PageKind::User);
    memory.hugetlb(256, 7);
    memory.deduplicate(256, 7);
    expect(256..384, PageKind::User);
    if memory.unaccepted(384) {
        expect(384..384 + (1 << LARGEST_ORDER), PageKind::Free);
    }
    expected
}

#[test]
fn each_kernel_says_in_its_way_what_a_page_is() {
    for model in Model::ALL {
        for kernel in Kernel::ALL {
            let mut memory = TestMemory::new(model, kernel);
            let expected = populate(&mut memory);
            let core = opened(&memory.core());
            for window in [PAGES, 1 << LARGEST_ORDER] {
                let (kinds, notes) = classify(&core, Level::ALL, window);
                assert_eq!(notes, [""; 0], "{model:?} {kernel:?}");
                for (pfn, (kind, expected)) in kinds.iter().zip(&expected).enumerate() {
                    assert_eq!(kind, expected, "{model:?} {kernel:?} page {pfn}");
                }
            }
        }
    }
}

#[test]
fn a_level_leaves_out_what_it_names_and_what_must_not_be_read() {
    for kernel in Kernel::ALL {
        let mut memory = TestMemory::new(Model::Vmemmap, kernel);
        let all = populate(&mut memory);
        let core = opened(&memory.core());
        for number in 0..32 {
            let level: Level = number.to_string().parse().unwrap();
            let dropped = |kind: &PageKind| match kind {
                PageKind::Keep => false,
                PageKind::Cache => number & 6 != 0,
                PageKind::CachePrivate => number & 4 != 0,
                PageKind::User => number & 8 != 0,
                PageKind::Free => number & 16 != 0,
                PageKind::HwPoison | PageKind::Offline => true,
            };
            let expected: Vec<_> =
                all.iter().map(|kind| if dropped(kind) { *kind } else { PageKind::Keep }).collect();
            let (kinds, notes) = classify(&core, level, PAGES);
            assert_eq!(kinds, expected, "{kernel:?} level {number}");
            assert_eq!(notes, [""; 0]);
        }
    }
}

#[test]
fn a_broken_huge_page_is_left_out_whole() {
    for kernel in Kernel::ALL {
        let mut memory = TestMemory::new(Model::Vmemmap, kernel);
        memory.hugetlb(256, 7);
        memory.poison(256);
        let core = opened(&memory.core());
        for level in [Level::NONE, Level::ALL] {
            let (kinds, _) = classify(&core, level, 1 << LARGEST_ORDER);
            assert!(kinds[256..384].iter().all(|kind| *kind == PageKind::HwPoison), "{kernel:?}");
        }
    }
}

#[test]
fn windows_may_reach_beyond_the_memory_map() {
    let mut memory = TestMemory::new(Model::Flat, Kernel::V4_19);
    memory.free(0, LARGEST_ORDER);
    let core = opened(&memory.core());
    let filter = PageFilter::new(&core, Level::ALL);
    assert_eq!(filter.alignment(), 1 << LARGEST_ORDER);
    let mut kinds = [PageKind::User; 64];
    for first in [PAGES, u64::MAX - 63, 1 << 63] {
        filter.classify(first, &mut kinds);
        assert_eq!(kinds, [PageKind::Keep; 64]);
    }
    filter.classify(0, &mut []);
    filter.classify(0, &mut kinds);
    assert_eq!(kinds, [PageKind::Free; 64]);
}

#[test]
fn threads_can_share_a_filter() {
    fn shared<T: Send + Sync>() {}
    shared::<PageFilter<'_>>();
}

/// The pages of each entry that a kernel may not have, and the note about them.
#[test]
fn what_is_not_said_is_kept_and_noted() {
    let cases: [(Kernel, &str, &[PageKind]); 11] = [
        (Kernel::V4_19, "LENGTH(zone.free_area)", &[PageKind::Free]),
        (Kernel::V4_19, "OFFSET(page.private)", &[PageKind::Free]),
        (Kernel::V4_19, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", &[PageKind::Free]),
        (Kernel::V4_19, "NUMBER(PG_lru)", &[PageKind::Cache, PageKind::CachePrivate]),
        (Kernel::V4_19, "NUMBER(PG_private)", &[PageKind::Cache, PageKind::CachePrivate]),
        (
            Kernel::V4_19,
            "OFFSET(page.mapping)",
            &[PageKind::Cache, PageKind::CachePrivate, PageKind::User],
        ),
        (Kernel::V4_19, "OFFSET(page.compound_order)", &[]),
        (Kernel::V4_19, "OFFSET(page.compound_dtor)", &[]),
        (Kernel::V6_6, "NUMBER(PG_hugetlb)", &[]),
        (Kernel::V6_12, "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", ALL_KINDS),
        (Kernel::V7_1, "OFFSET(page.compound_info)", ALL_KINDS),
    ];
    for (kernel, key, kept) in cases {
        let mut memory = TestMemory::new(Model::Vmemmap, kernel);
        let all = populate(&mut memory);
        let lines = memory.info().lines().filter(|line| !line.starts_with(&format!("{key}=")));
        let info: String = lines.map(|line| format!("{line}\n")).collect();
        assert_ne!(info, memory.info(), "{key}");
        let core = opened(&memory.core_with(&info));
        let (kinds, notes) = classify(&core, Level::ALL, PAGES);
        assert!(!notes.is_empty(), "{key}");
        for (kind, known) in kinds.iter().zip(&all) {
            assert!(*kind == PageKind::Keep || kind == known, "{key}: {kind:?} is {known:?}");
            assert!(!kept.contains(kind), "{key}: {kind:?}");
        }
    }
}

const ALL_KINDS: &[PageKind] = &[
    PageKind::Cache,
    PageKind::CachePrivate,
    PageKind::User,
    PageKind::Free,
    PageKind::HwPoison,
    PageKind::Offline,
];

#[test]
fn a_kernel_that_says_nothing_is_kept_whole() {
    let core = opened(&TestCore::new("").load(0, 0, [0; 4096]));
    let (kinds, notes) = classify(&core, Level::ALL, PAGES);
    assert_eq!(kinds, vec![PageKind::Keep; kinds.len()]);
    assert_eq!(
        notes,
        ["no pages but those of zeros are left out, because their state cannot be found: \
          VMCOREINFO of the dead kernel has no SIZE(page)"]
    );
}

#[test]
fn a_memory_map_that_is_not_in_the_core_keeps_its_pages() {
    let mut memory = TestMemory::new(Model::Sections, Kernel::V6_12);
    memory.free(0, 0);
    memory.free(256, 0);
    let mut core = memory.core();
    // From the struct page of page 96 on there is nothing.
    let (_, _, bytes) = &mut core.loads[0];
    bytes.truncate(0x2_0000 + 96 * 64);
    let core = opened(&core.load(256 << 12, 0, [0; 4096]).load(300 << 12, 0, [0; 8192]));
    let (kinds, notes) = classify(&core, Level::ALL, 1 << LARGEST_ORDER);
    assert_eq!(kinds[0], PageKind::Free);
    assert_eq!(kinds[256], PageKind::Keep);
    // Pages that are no RAM do not count.
    let expected = "pages kept because the dump does not have their state (struct page): 3";
    assert_eq!(notes, [expected]);
}

/// Numbers from a small generator: the tests are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 33
    }
}

/// A damaged core must not end the program, keep it forever or make it take much memory. What the
/// filter says of it does not matter.
#[test]
fn damaged_information_does_no_harm() {
    for model in Model::ALL {
        for kernel in [Kernel::V4_19, Kernel::V6_3, Kernel::V7_1] {
            let mut memory = TestMemory::new(model, kernel);
            populate(&mut memory);
            let lines: Vec<_> = memory.info().lines().collect();
            for damaged in 0..lines.len() {
                let (key, _) = lines[damaged].split_once('=').unwrap();
                for value in [
                    "",
                    "0",
                    "1",
                    "63",
                    "64",
                    "-1",
                    "4294967295",
                    "18446744073709551615",
                    "ffffffffffffffff",
                    "c000000000001000",
                ] {
                    let mut lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                    lines[damaged] = format!("{key}={value}");
                    let core = opened(&memory.core_with(&lines.join("\n")));
                    classify(&core, Level::ALL, 1 << LARGEST_ORDER);
                }
            }
        }
    }
}

#[test]
fn damaged_memory_does_no_harm() {
    let mut random = Random(1);
    for model in Model::ALL {
        for _ in 0..20 {
            let mut memory = TestMemory::new(model, Kernel::V6_12);
            populate(&mut memory);
            let bytes = memory.bytes_mut();
            for _ in 0..2000 {
                let at = usize::try_from(random.next()).unwrap() % bytes.len();
                bytes[at] = random.next().to_le_bytes()[0];
            }
            let core = opened(&memory.core());
            classify(&core, Level::ALL, 1 << LARGEST_ORDER);
        }
    }
}

#[test]
fn a_list_of_mappings_that_never_ends_is_left() {
    let model = Model::Hash(object::Endianness::Big);
    let mut memory = TestMemory::new(model, Kernel::V4_19);
    memory.loop_vmemmap_list();
    let core = opened(&memory.core());
    classify(&core, Level::ALL, PAGES);
}
