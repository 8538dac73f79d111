//! /etc/kdump.toml.
#![no_main]

use kdump::settings::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = Settings::parse(text) {
        assert!(!problems.is_empty());
    }
});
