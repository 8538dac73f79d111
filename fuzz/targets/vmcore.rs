//! A dump, in ELF, kdump-compressed or flattened: all that it says it has is read.
#![no_main]

use fuzz::{HostileFile, core};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = HostileFile::new(file);
    let Some(core) = core::open(&file) else { return };
    let headers = core.headers();
    for note in headers.each_note() {
        let _ = note;
    }
    let mut page = vec![0; usize::try_from(headers.page_size).expect("at most 256 KiB")];
    let mut last = 0;
    for range in headers.ram() {
        assert!(last <= range.start && range.start < range.end);
        last = range.end;
        for pfn in range {
            let _ = core.dumped(pfn, &mut [false]);
            let _ = core.read_pages(pfn, &mut page);
            if let Some(kdump) = core.kdump() {
                let _ = kdump.descriptor(pfn);
            }
        }
    }
});
