//! An orderly reboot: from `kexec -e` to the next kernel's first line.

use e2e::lab::{Lab, Watch};
use e2e::loader::Loader;
use e2e::scenario::reboot;

use super::figure::Figure;
use super::{ARCH, Error, Flavour, Loaders, Measured};

/// Our ways into the next kernel, with the bounds on the ratio.
const MODES: [(&str, f64); 2] = [("direct", 0.1), ("bzimage", 0.6)];

/// The figures of one kernel.
pub fn measure(lab: &Lab, flavour: &Flavour, loaders: &Loaders) -> Result<Measured, Error> {
    let peer = first_line(lab, flavour, &loaders.peer, &[])?;
    let mut measured = Measured::default();
    for (mode, goal) in MODES {
        let ours = first_line(lab, flavour, &loaders.ours, &["--entry-mode", mode])?;
        let kernel = format!("{} ({})", flavour.name, flavour.compression);
        let name = format!("kexec -e to first kernel line, {mode}, {kernel}");
        measured.figures.push(Figure::new(name, "M instructions", ours, peer).goal(goal));
    }
    Ok(measured)
}

/// Million instructions from `kexec -e` to the next kernel's first line.
fn first_line(
    lab: &Lab,
    flavour: &Flavour,
    loader: &Loader,
    options: &[&str],
) -> Result<f64, Error> {
    let mode = options.last().map(|mode| format!("-{mode}")).unwrap_or_default();
    let name = format!("bench-reboot-{}-{}{mode}", flavour.name, loader.maker.name());
    let (kernel, initrd) = (flavour.kernel.clone(), flavour.capture_initrd.clone());
    let mut cell = lab.cell(ARCH, &name, kernel, loader.clone(), initrd);
    cell.crashkernel = None;
    cell.loader_options = options.iter().map(|&option| option.to_owned()).collect();
    let phases = reboot::run(lab, &cell, Watch::Instructions)?.phases;
    let step = "first kernel line";
    let count = phases.iter().find(|phase| phase.name == step).and_then(|p| p.instructions);
    let log = lab.dir.join(&name).join("serial.log");
    count.map(|count| count as f64 / 1e6).ok_or(Error::Step { run: name, step: step.into(), log })
}
