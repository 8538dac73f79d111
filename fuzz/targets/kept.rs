//! A kept kernel: it is taken only if it is the one that was kept.
#![no_main]

use std::path::{Path, PathBuf};

use fuzz::tree;
use libfuzzer_sys::fuzz_target;
use purgatorio::kept::{Identity, Store};

const PACKED: &[u8] = b"a packed kernel";
const UNPACKED: &[u8] = b"the kernel";

fn kept(folder: &Path) -> (Store, PathBuf) {
    let store = Store::at(folder);
    let path = store.keep(&Identity::of(PACKED), UNPACKED).expect("a folder of ours");
    (store, path)
}

fuzz_target!(|file: &[u8]| {
    let (store, path) = kept(tree::folder(b"", &[]));
    tree::write(&path, file);
    if let Ok(Some(kept)) = store.find(&Identity::of(PACKED)) {
        assert_eq!(&*kept, &file[..kept.len()]);
    }
});
