//! Sizes: purgatory as it lies in memory, and the programs.

use std::fs;
use std::path::Path;

use e2e::lab::{Lab, Watch};
use e2e::layout::{self, Layout};
use e2e::loader::{Loader, Maker};

use super::crash;
use super::figure::Figure;
use super::guest::{self, Command, Then};
use super::{ARCH, Error, Flavour, Loaders, Measured};

/// What purgatory may take of the reserved memory, in KiB.
const PURGATORY_GOAL: f64 = 24.0;

/// The figures; purgatory's size does not depend on the kernel.
pub fn measure(lab: &Lab, flavour: &Flavour, loaders: &Loaders) -> Result<Measured, Error> {
    let ours = purgatory(lab, flavour, &loaders.ours)?;
    let peer = purgatory(lab, flavour, &loaders.peer)?;
    let alone = |loader: &Loader| kibibytes(&loader.program);
    let figures = vec![
        Figure::new("purgatory in memory, goal 24 KiB", "KiB", ours, peer)
            .goal(PURGATORY_GOAL / peer),
        Figure::new(
            "kexec program without its libraries",
            "KiB",
            alone(&loaders.ours)?,
            alone(&loaders.peer)?,
        ),
        Figure::new(
            "kexec program with its libraries",
            "KiB",
            with_libraries(&loaders.ours)?,
            with_libraries(&loaders.peer)?,
        ),
    ];
    Ok(Measured { figures, notes: vec![] })
}

/// KiB of the segment that has purgatory's entry, as the loader itself describes it.
fn purgatory(lab: &Lab, flavour: &Flavour, loader: &Loader) -> Result<f64, Error> {
    let name = format!("bench-size-{}", loader.maker.name());
    let (kernel, initrd) = (flavour.kernel.clone(), flavour.capture_initrd.clone());
    let cell = lab.cell(ARCH, &name, kernel, loader.clone(), initrd);
    let options: &[&str] = match loader.maker {
        Maker::Ours => &["--dry-run", "--format", "json"],
        Maker::Peer => &["-d"],
    };
    let commands = [Command { name: "plan", argv: crash::load(&cell, options) }];
    let boot = guest::boot(lab, &cell, &commands, Then::PowerOff, Watch::Plain)?;
    let layout: Option<Layout> = match loader.maker {
        Maker::Ours => layout::from_plan(&boot.output()),
        Maker::Peer => layout::from_debug_output(&boot.output()),
    };
    let memsz = layout.and_then(|layout| {
        let has_entry = |s: &&layout::Segment| {
            layout.entry.checked_sub(s.address).is_some_and(|offset| offset < s.memsz)
        };
        layout.segments.iter().find(has_entry).map(|segment| segment.memsz)
    });
    let memsz = memsz.ok_or_else(|| Error::NoPurgatory { log: boot.log().to_owned() })?;
    Ok(memsz as f64 / 1024.0)
}

fn with_libraries(loader: &Loader) -> Result<f64, Error> {
    loader
        .libraries
        .iter()
        .map(|(_, file)| kibibytes(file))
        .try_fold(kibibytes(&loader.program)?, |sum, size| Ok(sum + size?))
}

fn kibibytes(file: &Path) -> Result<f64, Error> {
    let metadata =
        fs::metadata(file).map_err(|source| Error::File { path: file.to_owned(), source })?;
    Ok(metadata.len() as f64 / 1024.0)
}
