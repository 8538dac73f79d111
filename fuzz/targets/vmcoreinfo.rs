//! VMCOREINFO as text.
#![no_main]

use capture::vmcore::VmcoreInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let info = VmcoreInfo::parse(text);
    let _ = (info.symbol("mem_section"), info.offset("page.flags"), info.number("PG_lru"));
    if let Ok(size) = info.page_size() {
        assert!(size.is_power_of_two() && (4096..=256 << 10).contains(&size));
    }
});
