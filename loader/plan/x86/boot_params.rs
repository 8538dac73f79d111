//! x86 `boot_params`, the "zero page": what a boot loader hands to the kernel, and the list of
//! `setup_data` behind it.
//!
//! Offsets: kernel 6.1 Documentation/x86/zero-page.rst; the setup header from 0x1f1 is
//! Documentation/x86/boot.rst; structures are arch/x86/include/uapi/asm/bootparam.h.

use alloc::{vec, vec::Vec};

use crate::facts::x86::{Efi, MemoryKind, MemoryRange};
use crate::image::bzimage::SETUP_HEADER_OFFSET;

/// Size of `boot_params`.
pub const SIZE: usize = 4096;
/// Entries of `e820_table`; more go to [`SetupData::e820_ext`].
pub const E820_MAX: usize = 128;

const SCREEN_INFO: core::ops::Range<usize> = 0..0x40;
const ACPI_RSDP_ADDR: usize = 0x70;
const EXT_RAMDISK_IMAGE: usize = 0xc0;
const EXT_RAMDISK_SIZE: usize = 0xc4;
const EXT_CMD_LINE_PTR: usize = 0xc8;
const EFI_INFO: core::ops::Range<usize> = 0x1c0..0x1e0;
const EFI_MEMDESC_SIZE: usize = 0x1c8;
const EFI_MEMMAP: usize = 0x1d0;
const EFI_MEMMAP_SIZE: usize = 0x1d4;
const EFI_MEMMAP_HI: usize = 0x1dc;
const E820_ENTRIES: usize = 0x1e8;
const EDD_COUNTS: core::ops::Range<usize> = 0x1e9..0x1eb;
const SECURE_BOOT: core::ops::Range<usize> = 0x1ec..0x1ed;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const HARDWARE_SUBARCH: core::ops::Range<usize> = 0x23c..0x240;
const SETUP_DATA: usize = 0x250;
/// The setup header may reach up to here; EDD signatures follow.
const END_OF_HEADER: usize = 0x290;
const EDD_MBR_SIGNATURES: core::ops::Range<usize> = 0x290..0x2d0;
const E820_TABLE: usize = 0x2d0;
const EDD_TABLE: core::ops::Range<usize> = 0xd00..0xeec;

/// `sizeof(struct boot_e820_entry)`
const E820_ENTRY: usize = 20;
/// The loader number that boot.rst gives to kexec, in the high half; its version is 0.
const KEXEC_LOADER: u8 = 0xd << 4;
const LOADED_HIGH: u8 = 1 << 0;
const KASLR_FLAG: u8 = 1 << 1;

/// The structure, as bytes.
#[derive(Clone, Debug)]
pub struct BootParams {
    bytes: Vec<u8>,
}

impl BootParams {
    /// Zeroes, and the setup header as a bzImage has it
    /// ([`header_bytes`](crate::image::BzImage::header_bytes)). KASLR_FLAG is cleared: a
    /// decompressor that randomizes the address sets it.
    pub fn with_header(header: &[u8]) -> Self {
        let mut params = Self { bytes: vec![0; SIZE] };
        let room = &mut params.bytes[SETUP_HEADER_OFFSET..END_OF_HEADER];
        for (to, from) in room.iter_mut().zip(header) {
            *to = *from;
        }
        params.bytes[TYPE_OF_LOADER] = KEXEC_LOADER;
        params.bytes[LOADFLAGS] &= !KASLR_FLAG;
        params
    }

    /// Zeroes, and the least setup header that a kernel entered without its bzImage needs:
    /// boot protocol 2.15.
    pub fn minimal() -> Self {
        let mut params = Self { bytes: vec![0; SIZE] };
        params.put(BOOT_FLAG, &0xaa55_u16.to_le_bytes());
        params.put(HEADER, b"HdrS");
        params.put(VERSION, &0x020f_u16.to_le_bytes());
        params.put(TYPE_OF_LOADER, &[KEXEC_LOADER]);
        params.put(LOADFLAGS, &[LOADED_HIGH]);
        params
    }

    /// Copies what the firmware told the running kernel and the next one cannot ask again:
    /// the screen, EDD, what kind of PC it is, and whether Secure Boot is on. `running` is the
    /// running kernel's `boot_params`; shorter than [`SIZE`] it is ignored.
    pub fn inherit(&mut self, running: &[u8]) {
        let parts =
            [SCREEN_INFO, EDD_COUNTS, SECURE_BOOT, HARDWARE_SUBARCH, EDD_MBR_SIGNATURES, EDD_TABLE];
        for part in parts {
            if let Some(from) = running.get(..SIZE).and_then(|params| params.get(part.clone())) {
                self.bytes[part].copy_from_slice(from);
            }
        }
    }

    /// Copies `efi_info`, but with the memory map at physical address `map`, which holds
    /// `map_size` bytes of [`efi_memory_map`].
    pub fn inherit_efi(&mut self, running: &[u8], map: u64, map_size: u32) {
        if let Some(from) = running.get(EFI_INFO) {
            self.bytes[EFI_INFO].copy_from_slice(from);
            self.put(EFI_MEMDESC_SIZE, &EFI_DESCRIPTOR_SIZE.to_le_bytes());
            self.put_split(EFI_MEMMAP, EFI_MEMMAP_HI, map);
            self.put(EFI_MEMMAP_SIZE, &map_size.to_le_bytes());
        }
    }

    /// Physical address of the ACPI RSDP.
    pub fn set_acpi_rsdp(&mut self, address: u64) {
        self.put(ACPI_RSDP_ADDR, &address.to_le_bytes());
    }

    /// Physical address and size of the initrd.
    pub fn set_ramdisk(&mut self, address: u64, size: u64) {
        self.put_split(RAMDISK_IMAGE, EXT_RAMDISK_IMAGE, address);
        self.put_split(RAMDISK_SIZE, EXT_RAMDISK_SIZE, size);
    }

    /// Physical address of the command line.
    pub fn set_command_line(&mut self, address: u64) {
        self.put_split(CMD_LINE_PTR, EXT_CMD_LINE_PTR, address);
    }

    /// Physical address of the protected-mode code, for the 32-bit entry.
    pub fn set_code32_start(&mut self, address: u32) {
        self.put(CODE32_START, &address.to_le_bytes());
    }

    /// Physical address of the first `setup_data`, or 0.
    pub fn set_setup_data(&mut self, address: u64) {
        self.put(SETUP_DATA, &address.to_le_bytes());
    }

    /// The first [`E820_MAX`] entries of the memory map.
    pub fn set_e820(&mut self, map: &[MemoryRange]) {
        let mut count = 0;
        for (index, entry) in map.iter().take(E820_MAX).enumerate() {
            self.put(E820_TABLE + index * E820_ENTRY, &e820_entry(entry));
            count += 1;
        }
        self.put(E820_ENTRIES, &[count]);
    }

    /// The structure's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn put(&mut self, offset: usize, field: &[u8]) {
        self.bytes[offset..offset + field.len()].copy_from_slice(field);
    }

    /// A 64-bit number whose halves are in two fields.
    fn put_split(&mut self, low: usize, high: usize, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.put(low, &[a, b, c, d]);
        self.put(high, &[e, f, g, h]);
    }
}

/// Whether `running`, the running kernel's `boot_params`, says that 64-bit EFI started it
/// (`efi_loader_signature`).
pub fn has_efi64(running: &[u8]) -> bool {
    running.get(EFI_INFO).is_some_and(|info| info.starts_with(b"EL64"))
}

/// `struct boot_e820_entry`
fn e820_entry(entry: &MemoryRange) -> [u8; E820_ENTRY] {
    let mut bytes = [0; E820_ENTRY];
    bytes[..8].copy_from_slice(&entry.range.start.to_le_bytes());
    bytes[8..16].copy_from_slice(&entry.range.len().to_le_bytes());
    bytes[16..].copy_from_slice(&e820_type(entry.kind).to_le_bytes());
    bytes
}

/// The number of a kind of memory in the firmware's interface E820.
pub const fn e820_type(kind: MemoryKind) -> u32 {
    match kind {
        MemoryKind::Ram => 1,
        MemoryKind::Reserved => 2,
        MemoryKind::AcpiTables => 3,
        MemoryKind::AcpiNvs => 4,
        MemoryKind::Unusable => 5,
        MemoryKind::Persistent => 7,
        MemoryKind::PersistentLegacy => 12,
        MemoryKind::SoftReserved => 0xefff_ffff,
    }
}

/// `sizeof(efi_memory_desc_t)`
const EFI_DESCRIPTOR_SIZE: u32 = 40;

/// The EFI runtime mappings as an EFI memory map.
pub fn efi_memory_map(efi: &Efi) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mapping in &efi.runtime_map {
        bytes.extend(mapping.kind.to_le_bytes());
        bytes.extend([0; 4]);
        for field in [mapping.phys, mapping.virt, mapping.pages, mapping.attribute] {
            bytes.extend(field.to_le_bytes());
        }
    }
    bytes
}

/// One `setup_data`: a kind and a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupData {
    kind: u32,
    payload: Vec<u8>,
}

/// `struct setup_data` before its payload: next, type, len.
const SETUP_DATA_HEADER: usize = 16;

impl SetupData {
    /// SETUP_E820_EXT: the entries of a memory map that `e820_table` has no room for; `None` if
    /// there are none.
    pub fn e820_ext(map: &[MemoryRange]) -> Option<Self> {
        let rest = map.get(E820_MAX..).filter(|rest| !rest.is_empty())?;
        Some(Self { kind: 1, payload: rest.iter().flat_map(e820_entry).collect() })
    }

    /// SETUP_DTB: a flattened device tree (kernel 6.1 arch/x86/kernel/devicetree.c).
    pub fn device_tree(flattened: Vec<u8>) -> Self {
        Self { kind: 2, payload: flattened }
    }

    /// SETUP_EFI: `struct efi_setup_data` (kernel 6.1 arch/x86/include/asm/efi.h).
    pub fn efi(efi: &Efi) -> Self {
        let fields = [efi.fw_vendor, efi.runtime, efi.config_table, efi.smbios];
        let mut payload: Vec<u8> = fields.into_iter().flat_map(u64::to_le_bytes).collect();
        payload.resize(payload.len() + 8 * 8, 0); // reserved[8]
        Self { kind: 4, payload }
    }

    /// SETUP_RNG_SEED: randomness from the running kernel.
    pub fn rng_seed(seed: &[u8; 32]) -> Self {
        Self { kind: 9, payload: seed.to_vec() }
    }

    /// Bytes that it takes in a list.
    fn size(&self) -> usize {
        (SETUP_DATA_HEADER + self.payload.len()).next_multiple_of(8)
    }
}

/// Bytes that a list takes.
pub fn setup_data_size(list: &[SetupData]) -> usize {
    list.iter().map(SetupData::size).sum()
}

/// The list as it is in memory at physical address `address`.
pub fn setup_data_list(list: &[SetupData], address: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(setup_data_size(list));
    for (index, item) in list.iter().enumerate() {
        let end = bytes.len() + item.size();
        let is_last = index + 1 == list.len();
        let next = if is_last { 0 } else { address + end as u64 };
        bytes.extend(next.to_le_bytes());
        bytes.extend(item.kind.to_le_bytes());
        // A payload is a memory map of a plan or a device tree, whose own size has 32 bits.
        bytes.extend(u32::try_from(item.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(&item.payload);
        bytes.resize(end, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::x86::EfiMapping;
    use crate::range::PhysRange;

    fn map(count: u64) -> Vec<MemoryRange> {
        (0..count)
            .map(|n| MemoryRange {
                range: PhysRange::new(n << 20, (n << 20) + 0x1000 + n),
                kind: if n % 2 == 0 { MemoryKind::Ram } else { MemoryKind::AcpiNvs },
            })
            .collect()
    }

    fn u64_at(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn the_header_is_copied_and_nothing_around_it() {
        let header = [0xff; 0x200];
        let bytes = BootParams::with_header(&header).into_bytes();
        assert_eq!(bytes.len(), SIZE);
        // The sentinel at 0x1ef must stay zero: the kernel takes it for an old loader's mark.
        assert!(bytes[..0x1f1].iter().all(|byte| *byte == 0));
        assert!(bytes[0x1f1..0x210].iter().all(|byte| *byte == 0xff));
        assert_eq!((bytes[0x210], bytes[0x211]), (0xd0, 0xfd));
        assert!(bytes[0x212..0x290].iter().all(|byte| *byte == 0xff));
        assert!(bytes[0x290..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn addresses_above_4g_are_split() {
        let mut params = BootParams::minimal();
        params.set_ramdisk(0x11_2233_4455, 0x66_7788_99aa);
        params.set_command_line(0xbb_ccdd_eeff);
        params.set_acpi_rsdp(0x1234_5678_9abc);
        let bytes = params.into_bytes();
        assert_eq!((u32_at(&bytes, 0x218), u32_at(&bytes, 0xc0)), (0x2233_4455, 0x11));
        assert_eq!((u32_at(&bytes, 0x21c), u32_at(&bytes, 0xc4)), (0x7788_99aa, 0x66));
        assert_eq!((u32_at(&bytes, 0x228), u32_at(&bytes, 0xc8)), (0xccdd_eeff, 0xbb));
        assert_eq!(u64_at(&bytes, 0x70), 0x1234_5678_9abc);
        assert_eq!(bytes[0x202..0x208], *b"HdrS\x0f\x02");
    }

    #[test]
    fn a_long_memory_map_continues_in_setup_data() {
        for count in [0, 1, 128] {
            assert_eq!(SetupData::e820_ext(&map(count)), None);
        }
        let map = map(131);
        let mut params = BootParams::minimal();
        params.set_e820(&map);
        let bytes = params.into_bytes();
        assert_eq!(bytes[0x1e8], 128);
        let last = 0x2d0 + 127 * 20;
        assert_eq!(u64_at(&bytes, last), 127 << 20);
        assert_eq!(u64_at(&bytes, last + 8), 0x1000 + 127);
        assert_eq!(u32_at(&bytes, last + 16), 4);
        assert_eq!(u64_at(&bytes, last + 20), 0);

        let rest = SetupData::e820_ext(&map).unwrap();
        let list = setup_data_list(&[rest], 0x5000);
        assert_eq!((u64_at(&list, 0), u32_at(&list, 8), u32_at(&list, 12)), (0, 1, 60));
        assert_eq!(u64_at(&list, 16), 128 << 20);
        assert_eq!(list.len(), 80);
    }

    #[test]
    fn setup_data_is_a_list_of_physical_addresses() {
        let efi = Efi {
            fw_vendor: 0x11,
            runtime: 0,
            config_table: 0x33,
            smbios: 0x44,
            runtime_map: Vec::new(),
        };
        let list = [SetupData::rng_seed(&[7; 32]), SetupData::efi(&efi)];
        let bytes = setup_data_list(&list, 0x1_0000_0000);
        assert_eq!(bytes.len(), setup_data_size(&list));
        assert_eq!((u64_at(&bytes, 0), u32_at(&bytes, 8)), (0x1_0000_0030, 9));
        assert_eq!((u32_at(&bytes, 12), bytes[16], bytes[47]), (32, 7, 7));
        assert_eq!((u64_at(&bytes, 48), u32_at(&bytes, 56), u32_at(&bytes, 60)), (0, 4, 96));
        assert_eq!(
            (u64_at(&bytes, 64), u64_at(&bytes, 80), u64_at(&bytes, 88)),
            (0x11, 0x33, 0x44)
        );
    }

    #[test]
    fn the_screen_and_efi_info_are_inherited() {
        let running: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
        let mut params = BootParams::minimal();
        params.inherit(&running);
        params.inherit_efi(&running, 0x9_8765_4000, 80);
        let bytes = params.into_bytes();
        assert_eq!(bytes[..0x40], running[..0x40]);
        assert_eq!(bytes[0xd00..0xeec], running[0xd00..0xeec]);
        assert_eq!(bytes[0x23c..0x240], running[0x23c..0x240]);
        assert_eq!(bytes[0x1ef], 0);
        assert_eq!(bytes[0x1c0..0x1c8], running[0x1c0..0x1c8]);
        assert_eq!(u32_at(&bytes, 0x1c8), 40);
        assert_eq!(bytes[0x1cc..0x1d0], running[0x1cc..0x1d0]);
        assert_eq!((u32_at(&bytes, 0x1d0), u32_at(&bytes, 0x1dc)), (0x8765_4000, 9));
        assert_eq!(u32_at(&bytes, 0x1d4), 80);

        let mut untouched = BootParams::minimal();
        untouched.inherit(&running[..100]);
        assert_eq!(untouched.into_bytes(), BootParams::minimal().into_bytes());
    }

    #[test]
    fn efi_mappings_become_descriptors() {
        let mapping = EfiMapping { kind: 5, phys: 0x1000, virt: 0x2000, pages: 3, attribute: 0xf };
        let efi = Efi {
            fw_vendor: 0,
            runtime: 0,
            config_table: 0,
            smbios: 0,
            runtime_map: vec![mapping; 2],
        };
        let map = efi_memory_map(&efi);
        assert_eq!(map.len(), 80);
        assert_eq!((u32_at(&map, 40), u64_at(&map, 48), u64_at(&map, 72)), (5, 0x1000, 0xf));
    }
}
