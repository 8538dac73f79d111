//! The capture image's configuration, and what a command line changes in it.
#![no_main]

use capture::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, command_line) = input;
    let (mut config, _) = Config::read(text);
    let _ = config.override_by(command_line);
});
