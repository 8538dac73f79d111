use super::page_tables::X86_PAGE_SIZE_BIT as PAGE_SIZE_BIT;
use super::*;
use crate::test_core::{TestCore, poke};

const TABLE: u64 = 0x1000;
const LEVEL_3: u64 = 0x2000;
const LEVEL_2: u64 = 0x3000;
const LEVEL_1: u64 = 0x4000;
const DATA: u64 = 0x5000;
/// The kernel's image stands this much higher than where it was linked.
const PHYS_BASE: u64 = 0x20_0000;
const NX: u64 = 1 << 63;
const PRESENT: u64 = 1;

/// x86_64 memory from physical `PHYS_BASE` whose page tables map, at the start of the direct
/// mapping: a page, then nothing, and from 2 MiB a large page at `PHYS_BASE`.
fn machine(extra_info: &str, entry_bits: u64) -> TestCore {
    let mut memory = vec![0; 0x6000];
    let mut entry = |table: u64, index: u64, to: u64, bits: u64| {
        poke(&mut memory, table + index * 8, &(to | bits | entry_bits | PRESENT).to_le_bytes());
    };
    entry(TABLE, 0x111, PHYS_BASE + LEVEL_3, 0);
    entry(LEVEL_3, 0, PHYS_BASE + LEVEL_2, 0);
    entry(LEVEL_2, 0, PHYS_BASE + LEVEL_1, 0);
    entry(LEVEL_2, 1, PHYS_BASE, PAGE_SIZE_BIT);
    entry(LEVEL_1, 0, PHYS_BASE + DATA, NX);
    // For five levels the fifth is the last page.
    entry(DATA, 0x1ff, PHYS_BASE + TABLE, 0);
    poke(&mut memory, DATA + 8, &0x1122_3344_5566_7788_u64.to_le_bytes());
    let info = format!(
        "SYMBOL(init_top_pgt)=ffffffff80001000\nNUMBER(phys_base)={PHYS_BASE}\n{extra_info}"
    );
    let mut core = TestCore::new(&info).load(PHYS_BASE, 0, memory);
    core.machine = EM_X86_64;
    core
}

const DIRECT: u64 = 0xffff_8880_0000_0000;

#[test]
fn page_tables_are_walked() {
    let (_file, core) = machine("", 0).open();
    let mut memory = KernelMemory::new(&core).unwrap();
    assert_eq!(memory.read_u64(Virtual(DIRECT + 8)).unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(memory.read_u32(Virtual(DIRECT + 8)).unwrap(), 0x5566_7788);
    assert_eq!(memory.read_u16(Virtual(DIRECT + 8)).unwrap(), 0x7788);
    let through_large_page = Virtual(DIRECT + 0x20_0000 + DATA + 8);
    assert_eq!(memory.read_long(through_large_page).unwrap(), 0x1122_3344_5566_7788);
}

#[test]
fn unmapped_addresses_are_told() {
    let (_file, core) = machine("", 0).open();
    let mut memory = KernelMemory::new(&core).unwrap();
    for address in [0, DIRECT + 0x1000, DIRECT - 8, u64::MAX - 1] {
        assert!(memory.read_u64(Virtual(address)).is_err(), "{address:#x}");
    }
    // Starts in the page and ends after it.
    let refused = memory.read_u64(Virtual(DIRECT + 0xffc));
    assert!(matches!(refused, Err(Error::Unmapped { address }) if address == DIRECT + 0x1000));
    // Mapped, but not in the core.
    let refused = memory.read_u64(Virtual(DIRECT + 0x20_0000 + 0x6000));
    assert!(matches!(refused, Err(Error::Core(vmcore::Error::NotDumped { .. }))));
}

#[test]
fn five_levels_are_walked() {
    let info = "SYMBOL(init_top_pgt)=ffffffff80005000\nNUMBER(pgtable_l5_enabled)=1\n";
    let (_file, core) = machine(info, 0).open();
    let mut memory = KernelMemory::new(&core).unwrap();
    // Bits 48..57 are those of entry 0x1ff of the fifth level.
    assert_eq!(memory.read_u64(Virtual(DIRECT + 8)).unwrap(), 0x1122_3344_5566_7788);
}

#[test]
fn the_encryption_bit_is_no_part_of_an_address() {
    let bit = 1 << 51;
    let (_file, core) = machine(&format!("NUMBER(sme_mask)={bit}\n"), bit).open();
    let mut memory = KernelMemory::new(&core).unwrap();
    assert_eq!(memory.read_u64(Virtual(DIRECT + 8)).unwrap(), 0x1122_3344_5566_7788);
}

#[test]
fn missing_information_is_named() {
    let mut core = TestCore::new("SYMBOL(init_top_pgt)=ffffffff80001000\n");
    core.machine = EM_X86_64;
    let (_file, core) = core.open();
    let error = KernelMemory::new(&core).unwrap_err();
    assert!(error.to_string().contains("NUMBER(phys_base)"), "{error}");
}

#[test]
fn elsewhere_segments_give_the_mapping() {
    let core =
        TestCore::new("").load(0x1000, 0x8000, vec![7; 0x1000]).load(0x9000, 0, vec![8; 0x1000]);
    let core = core.load(0xa000, u32::MAX.into(), vec![9; 0x1000]);
    let (_file, core) = core.open();
    let mut memory = KernelMemory::new(&core).unwrap();
    assert_eq!(memory.read_u16(Virtual(0x8ffe)).unwrap(), 0x0707);
    for outside in [0, 0x9000, 0x7fff, u32::MAX.into()] {
        assert!(matches!(memory.read_u16(Virtual(outside)), Err(Error::Unmapped { .. })));
    }
}

const I386_TABLE: &str = "SYMBOL(swapper_pg_dir)=c0001000\n";
/// What the i386 page tables here map: a large page at physical 0, and `DATA`.
const LOW_MEMORY: u64 = 0xc000_0000;
const VMALLOC: u64 = 0xf800_0000;

#[test]
fn page_tables_of_i386_are_walked() {
    let mut memory = vec![0; 0x6000];
    for (at, entry) in [
        (TABLE + 0x300 * 4, PAGE_SIZE_BIT | PRESENT),
        (TABLE + 0x3e0 * 4, LEVEL_1 | PRESENT),
        (LEVEL_1, DATA | PRESENT),
    ] {
        poke(&mut memory, at, &u32::try_from(entry).unwrap().to_le_bytes());
    }
    check_i386(TestCore::i386(I386_TABLE).load(0, LOW_MEMORY, memory.clone()));
    // Memory that the kernel does not map.
    let core = TestCore::i386(I386_TABLE).load(0x4000_0000, u32::MAX.into(), []);
    check_i386(core.load(0, LOW_MEMORY, memory));
}

#[test]
fn page_tables_of_pae_are_walked() {
    let mut memory = vec![0; 0x6000];
    for (at, entry) in [
        (TABLE + 3 * 8, LEVEL_2 | PRESENT),
        (LEVEL_2, PAGE_SIZE_BIT | PRESENT),
        (LEVEL_2 + 0x1c0 * 8, LEVEL_1 | PRESENT),
        (LEVEL_1, DATA | PRESENT | NX),
    ] {
        poke(&mut memory, at, &entry.to_le_bytes());
    }
    let info = format!("{I386_TABLE}CONFIG_X86_PAE=y\n");
    let core = TestCore::i386(&info).load(0, LOW_MEMORY, memory.clone());
    check_i386(core);
    // More than 4 GiB: 64-bit headers, and memory above that the kernel does not map.
    let mut core = TestCore::i386(&info).load(1 << 32, u64::MAX, []).load(0, LOW_MEMORY, memory);
    core.has_64_bit_headers = true;
    check_i386(core);
}

fn check_i386(mut core: TestCore) {
    let (_, _, memory) = core.loads.last_mut().unwrap();
    poke(memory, DATA + 8, &0x1122_3344_5566_7788_u64.to_le_bytes());
    // Where the loader does not know the mapping, it is the usual one.
    for page_offset in [LOW_MEMORY, 0] {
        core.loads.last_mut().unwrap().1 = page_offset;
        let (_file, core) = core.open();
        let mut memory = KernelMemory::new(&core).unwrap();
        for address in [VMALLOC, LOW_MEMORY + DATA] {
            assert_eq!(memory.read_long(Virtual(address + 8)).unwrap(), 0x5566_7788);
            assert_eq!(memory.read_u64(Virtual(address + 8)).unwrap(), 0x1122_3344_5566_7788);
        }
        let refused = memory.read_long(Virtual(VMALLOC + 0x1000));
        assert!(matches!(refused, Err(Error::Unmapped { .. })));
    }
}

#[test]
fn the_linear_mapping_of_power_needs_no_segments() {
    let mut memory = vec![0; 0x1000];
    poke(&mut memory, 8, &0x1122_3344_5566_7788_u64.to_be_bytes());
    let (_file, core) = TestCore::power("").load(0x1_0000, 0, memory).open();
    let mut memory = KernelMemory::new(&core).unwrap();
    let address = Virtual(0xc000_0000_0001_0008);
    assert_eq!(memory.read_long(address).unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(memory.read_u32(address).unwrap(), 0x1122_3344);
    let refused = memory.read_long(Virtual(0x1_0008));
    assert!(matches!(refused, Err(Error::Unmapped { address: 0x1_0008 })));
}
