//! Sizes: purgatory as it lies in memory, and the programs.

use std::fs;
use std::path::Path;

use e2e::lab::{Lab, Watch};
use e2e::layout::{self, Layout};
use e2e::loader::{Loader, Maker};
use purgatorio::facts::Arch;

use super::crash;
use super::figure::Figure;
use super::guest::{self, Command, Then};
use super::subject::{Flavour, Subject};
use super::{Error, Measured};

/// What purgatory may take of the reserved memory, in KiB: what build.rs allows its image, in
/// whole pages of the kernel that loads it.
fn purgatory_goal(arch: Arch) -> f64 {
    match arch {
        Arch::X86_64 | Arch::I386 => 24.0,
        Arch::Ppc64le | Arch::Ppc64 => 64.0,
    }
}

/// The figures; purgatory's size does not depend on the kernel.
pub fn measure(lab: &Lab, subject: &Subject, flavour: &Flavour) -> Result<Measured, Error> {
    let peer = subject.peer.as_ref();
    let figure = |name: &str, size: &dyn Fn(&Loader) -> Result<f64, Error>| {
        let peers = peer.map(size).transpose()?;
        Ok::<_, Error>(Figure::new(subject.arch, name, "KiB", size(&subject.ours)?, peers))
    };
    let goal = purgatory_goal(subject.arch);
    let in_memory = figure(&format!("purgatory in memory, goal {goal:.0} KiB"), &|loader| {
        purgatory(lab, flavour, loader)
    })?;
    let bound = in_memory.peer.map(|peer| goal / peer);
    let figures = vec![
        in_memory.goal(bound),
        figure("kexec program without its libraries", &|loader| kibibytes(&loader.program))?,
        figure("kexec program with its libraries", &with_libraries)?,
    ];
    Ok(Measured { figures, notes: vec![] })
}

/// KiB of the segment that has purgatory's entry, as the loader itself describes it.
fn purgatory(lab: &Lab, flavour: &Flavour, loader: &Loader) -> Result<f64, Error> {
    let cell = flavour.cell(lab, "size", loader, "");
    let options: &[&str] = match loader.maker {
        Maker::Ours => &["--dry-run", "--format", "json"],
        Maker::Peer => &["-d"],
    };
    let commands = [Command { name: "plan", argv: crash::load(&cell, options) }];
    let boot = guest::boot(lab, &cell, &commands, &[], Then::PowerOff, Watch::Plain)?;
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
