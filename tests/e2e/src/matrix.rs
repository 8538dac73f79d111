//! Every cell that the harness knows: which scenario runs on which kernel of which architecture,
//! and where it does not, why.

use purgatorio::facts::Arch;

use crate::arch::profile;
use crate::scenario::list::{ALL, Scenario};

/// A scenario on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The machine's architecture.
    pub arch: Arch,
    /// The kernel's label.
    pub label: &'static str,
    /// The scenario.
    pub scenario: Scenario,
    /// Whether it runs.
    pub runs: Runs,
}

/// Whether a scenario runs on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// It does.
    Yes,
    /// It runs on another of the architecture's kernels; on this one it would show nothing new.
    OnAnotherKernel,
    /// It makes no sense there, for this reason.
    Never(&'static str),
}

/// The kernels of `archs`, in the order of reports.
pub fn kernels(archs: &[Arch]) -> impl Iterator<Item = (Arch, &'static str)> {
    archs
        .iter()
        .flat_map(|&arch| profile(arch).kernels.iter().map(move |&(label, _)| (arch, label)))
}

/// The cells of one kernel.
pub fn cells(arch: Arch, label: &'static str) -> impl Iterator<Item = Planned> {
    ALL.iter().map(move |&(_, scenario, _)| {
        let runs = match scenario.unsuited_to(arch) {
            Some(reason) => Runs::Never(reason),
            None if label == scenario.kernel(arch) || scenario.depends_on_kernel() => Runs::Yes,
            None => Runs::OnAnotherKernel,
        };
        Planned { arch, label, scenario, runs }
    })
}
