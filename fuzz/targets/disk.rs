//! What is on a disk: superblocks, partition tables, the trailer of a raw dump.
#![no_main]

use capture::block::occupant::occupant;
use capture::block::partition_table::partuuid;
use fuzz::HostileFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|disk: &[u8]| {
    let disk = HostileFile::new(disk);
    let _ = occupant(&disk.file);
    for number in [0, 1, 4, 5, 128, u32::MAX] {
        let _ = partuuid(&disk.file, number);
    }
});
