//! A capture image that `kdump status` looks into.
#![no_main]

use std::path::Path;

use kdump::packed::CaptureImage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(image) = CaptureImage::parse(Path::new("image"), file) {
        let _ = image.arch(Path::new("image"));
    }
});
