//! A hostile core is saved; if that works, the dump is verified and opens with the same RAM.
#![no_main]

use std::num::NonZeroUsize;

use capture::dump::{Compression, Format, Options, Output, save, verify};
use capture::filter::Level;
use capture::vmcore::Vmcore;
use fuzz::{HostileFile, core};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (level, is_elf, file) = input;
    let file = HostileFile::new(file);
    let Some(core) = core::open(&file) else { return };
    let options = Options {
        format: if is_elf { Format::Elf } else { Format::Kdump },
        compression: Compression::Zlib,
        level: Level::try_from(level % 32).expect("below 32"),
        threads: NonZeroUsize::MIN,
    };
    let dump = HostileFile::new(&[]);
    let Ok(saved) = save(&core, &options, Output::File(&dump.file), &mut |_| {}) else { return };
    verify(&core, &dump.path(), &saved, &mut |_| {}).expect("what was written is read back");
    let copy = Vmcore::open(&dump.path()).expect("a dump that was saved");
    if !is_elf {
        assert_eq!(copy.headers().ram(), core.headers().ram());
    }
});
