//! An orderly reboot: from `kexec -e` to the next kernel's first line.

use e2e::cell::Cell;
use e2e::lab::{Lab, Watch};
use e2e::loader::Loader;
use e2e::scenario::reboot::{self, Form};

use super::figure::Figure;
use super::subject::{Flavour, Subject, Way};
use super::{Error, Measured};

/// The figures of one kernel.
pub fn measure(lab: &Lab, subject: &Subject, flavour: &Flavour) -> Result<Measured, Error> {
    let mut peers = None;
    if let Some(peer) = &subject.peer {
        for way in flavour.ways(peer.maker) {
            peers = Some(first_line(lab, flavour, peer, way)?);
        }
    }
    let mut measured = Measured::default();
    for way in flavour.wanted.ways {
        let ours = first_line(lab, flavour, &subject.ours, way)?;
        let name = format!("kexec -e to first kernel line, {}, {}", way.name, flavour.title());
        let figure = Figure::new(subject.arch, &name, "M instructions", ours, peers);
        measured.figures.push(figure.goal(way.reboot));
    }
    Ok(measured)
}

/// Million instructions from `kexec -e` to the next kernel's first line.
fn first_line(lab: &Lab, flavour: &Flavour, loader: &Loader, way: &Way) -> Result<f64, Error> {
    let cell = Cell {
        crashkernel: None,
        loader_options: way.options.iter().map(|&option| option.to_owned()).collect(),
        ..flavour.cell(lab, "reboot", loader, &format!("-{}", way.name))
    };
    let phases = reboot::run(lab, &cell, Watch::Instructions, Form::Files)?.phases;
    let step = "first kernel line";
    let count = phases.iter().find(|phase| phase.name == step).and_then(|p| p.instructions);
    let log = lab.dir.join(&cell.name).join("serial.log");
    count.map(|count| count as f64 / 1e6).ok_or(Error::Step {
        run: cell.name,
        step: step.into(),
        log,
    })
}
