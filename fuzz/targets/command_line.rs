//! Command lines of kernels, and what a capture kernel's is made of.
#![no_main]

use capture::capture_command_line::CommandLine;
use libfuzzer_sys::fuzz_target;
use purgatorio::facts::Arch;
use purgatorio::plan::{Target, command_line};

fuzz_target!(|input: (&str, &str)| {
    let (running, given) = input;
    for target in [Target::Reboot, Target::Crash] {
        let line = command_line::reuse(running, target);
        let line = command_line::inherit_root(&line, running);
        let line = command_line::add_parameter(&line, "elfcorehdr=0x1000");
        assert!(command_line::words(&line).any(|word| word == "elfcorehdr=0x1000"));
    }
    for arch in Arch::ALL {
        let made = CommandLine::make(Some(arch), running, &[], &[given.to_owned()]);
        let _ = made.to_string();
    }
});
