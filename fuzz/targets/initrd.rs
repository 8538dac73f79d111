//! An initrd: archives one behind the other, some compressed. Ours goes behind it, aligned.
#![no_main]

use kdump::early::base;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(base) = base::read(file) {
        assert!(file.starts_with(base.bytes));
        assert!((base.bytes.len() + base.padding()).is_multiple_of(4));
    }
});
