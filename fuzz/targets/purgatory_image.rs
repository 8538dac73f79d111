//! A purgatory image and its address: relocated, it has its size and its entry lies in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linker::Image;

fuzz_target!(|input: (u64, &[u8])| {
    let (base, file) = input;
    let Ok(image) = Image::parse(file) else { return };
    let base = base - base % image.align().max(1);
    let Ok(placed) = image.place(base) else { return };
    let (start, code) = placed.code();
    assert!(base <= start && start - base + code.len() as u64 <= image.size());
    assert!((base..base + image.size()).contains(&placed.entry()));
});
