//! The folder of a saved dump: manifest and log.
#![no_main]

use fuzz::tree;
use kdump::saved::{Saved, cause};
use libfuzzer_sys::fuzz_target;

const FILES: &[&str] = &["manifest.json", "vmcore-dmesg.txt", "vmcore", "vmcore-incomplete"];

fuzz_target!(|input: &[u8]| {
    let Ok(saved) = Saved::open(tree::folder(input, FILES)) else { return };
    let _ = saved.state();
    if let Ok(Some(log)) = saved.log_text() {
        let _ = cause(&log);
    }
});
