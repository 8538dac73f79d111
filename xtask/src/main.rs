//! The project's own commands.
#![forbid(unsafe_code)]

mod manuals;

use std::{io, path::Path};

fn main() -> io::Result<()> {
    for file in manuals::write(Path::new("target/dist/share"))? {
        println!("{}", file.display());
    }
    Ok(())
}
