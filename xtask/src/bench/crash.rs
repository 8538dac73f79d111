//! A crash: what the load of the capture kernel costs before it, and how long it takes from the
//! panic to the capture kernel's first line and to its /init.

use e2e::cell::{Cell, LOADER};
use e2e::first_boot::GuestFile;
use e2e::lab::{Lab, Watch};
use e2e::loader::Loader;
use e2e::phases::Phase;
use purgatorio::facts::Arch;

use super::figure::Figure;
use super::guest::{self, Boot, Command, Then};
use super::subject::{Flavour, PEERS_WAY, Subject};
use super::{Error, Measured};

/// The command that loads what has not been unpacked before.
const FIRST: &str = "first-load";

/// Boots whose seconds are measured. The shortest time counts: a busy host only adds to it.
const TIMED_TURNS: [&str; 2] = ["-timed-1", "-timed-2"];

/// The figures of one kernel; with `counts_only` without seconds.
pub fn measure(
    lab: &Lab,
    subject: &Subject,
    flavour: &Flavour,
    counts_only: bool,
) -> Result<Measured, Error> {
    let counted = |loader, turn| boot(lab, flavour, loader, Watch::Instructions, turn);
    let timed = |loader, turn| boot(lab, flavour, loader, Watch::Plain, turn);
    let mut ours = Boots::new(counted(&subject.ours, "-1")?);
    let again = counted(&subject.ours, "-2")?;
    let mut peer = None;
    if let Some(loader) = &subject.peer {
        peer = Some((loader, Boots::new(counted(loader, "-1")?)));
    }
    // The loaders take turns: a host that slows down slows down both.
    let timed_turns: &[&str] = if counts_only { &[] } else { &TIMED_TURNS };
    for turn in timed_turns {
        ours.timed.push(timed(&subject.ours, turn)?);
        if let Some((loader, boots)) = &mut peer {
            boots.timed.push(timed(loader, turn)?);
        }
    }
    let peer = peer.map(|(_, boots)| boots);
    let peers_cost = |phase: &dyn Fn(&Boot) -> Result<Phase, Error>| {
        peer.as_ref().map(|boots| boots.cost(phase)).transpose()
    };

    let (arch, kernel) = (subject.arch, flavour.title());
    let mut figures = Vec::new();
    for (step, goal) in [
        ("first kernel line", flavour.wanted.first_line),
        ("capture /init", flavour.wanted.capture_init),
    ] {
        let name = format!("panic to {step}, {kernel}");
        let since_panic = |boot: &Boot| boot.since_panic(step);
        figures.extend(both(arch, &name, ours.cost(since_panic)?, peers_cost(&since_panic)?, goal));
    }
    let peers_load = peers_cost(&|boot| boot.command(PEERS_WAY))?;
    for way in flavour.wanted.ways {
        let load = |command| ours.cost(|boot| boot.command(command));
        let name = |which| format!("load for a crash, {}{which}, {kernel}", way.name);
        if way.unpacks {
            // No goal: it is done once for each kernel, and not before a crash but at installation.
            let name = name(", the first, which unpacks");
            figures.extend(both(arch, &name, load(FIRST)?, peers_load, None));
        }
        let name = name(if way.unpacks { ", every later one" } else { "" });
        figures.extend(both(arch, &name, load(way.name)?, peers_load, way.load));
    }
    let notes = notes(flavour, &ours.counted, &again, peer.as_ref().map(|boots| &boots.counted))?;
    Ok(Measured { figures, notes })
}

/// The boots of one loader.
struct Boots {
    /// With instructions counted.
    counted: Boot,
    /// With the host's time.
    timed: Vec<Boot>,
}

/// What a step costs.
#[derive(Clone, Copy)]
struct Cost {
    million_instructions: f64,
    /// If any boots were timed.
    seconds: Option<f64>,
}

impl Boots {
    fn new(counted: Boot) -> Self {
        Self { counted, timed: Vec::new() }
    }

    fn cost(&self, phase: impl Fn(&Boot) -> Result<Phase, Error>) -> Result<Cost, Error> {
        let timed = self.timed.iter().map(|boot| Ok(phase(boot)?.seconds));
        let timed = timed.collect::<Result<Vec<f64>, Error>>()?;
        let seconds = timed.into_iter().reduce(f64::min);
        Ok(Cost { million_instructions: millions(&phase(&self.counted)?), seconds })
    }
}

/// A step's instructions, for which there may be a goal, and its seconds, if they were measured.
fn both(
    arch: Arch,
    name: &str,
    ours: Cost,
    peer: Option<Cost>,
    goal: Option<f64>,
) -> impl Iterator<Item = Figure> {
    let counted = |cost: Cost| cost.million_instructions;
    let counts = Figure::new(arch, name, "M instructions", counted(ours), peer.map(counted));
    let peers_seconds = peer.and_then(|cost| cost.seconds);
    let seconds = ours.seconds.map(|ours| Figure::new(arch, name, "s", ours, peers_seconds));
    [counts.goal(goal)].into_iter().chain(seconds)
}

fn boot(
    lab: &Lab,
    flavour: &Flavour,
    loader: &Loader,
    watch: Watch,
    turn: &str,
) -> Result<Boot, Error> {
    let cell = flavour.cell(lab, "crash", loader, turn);
    // Every system has its folder; in it our loader keeps what it has unpacked.
    let files = [GuestFile::new("/var/cache/placeholder", [])];
    guest::boot(lab, &cell, &commands(flavour, &cell), &files, Then::Panic, watch)
}

/// Loads in every way; what is loaded last, the default, runs after the panic.
fn commands(flavour: &Flavour, cell: &Cell) -> Vec<Command> {
    let run = |name, arguments: &[&str]| Command {
        name,
        argv: [LOADER].iter().chain(arguments).map(|&argument| argument.to_owned()).collect(),
    };
    let loads = flavour.ways(cell.loader.maker).iter().flat_map(|way| {
        let first = way.unpacks.then_some(FIRST);
        first.into_iter().chain([way.name]).map(move |name| (name, way))
    });
    let loads = loads.map(|(name, way)| Command { name, argv: load(cell, way.options) });
    let mut commands = vec![run("version", &["-v"])];
    for load in loads {
        if commands.len() > 1 {
            commands.push(run("unload", &["-p", "-u"]));
        }
        commands.push(load);
    }
    commands
}

/// The command that loads the capture kernel.
pub fn load(cell: &Cell, options: &[&str]) -> Vec<String> {
    let loader_options = options.iter().map(|&option| option.to_owned()).collect();
    let cell = Cell { loader_options, ..cell.clone() };
    let mut argv = vec![LOADER.to_owned()];
    argv.extend(cell.load_arguments());
    argv
}

fn millions(phase: &Phase) -> f64 {
    phase.instructions.unwrap_or_default() as f64 / 1e6
}

/// What a reader of the figures should know.
fn notes(
    flavour: &Flavour,
    ours: &Boot,
    again: &Boot,
    peer: Option<&Boot>,
) -> Result<Vec<String>, Error> {
    let kernel = flavour.title();
    let version = |boot: &Boot| boot.output().into_iter().next().unwrap_or_default();
    let peers = peer.map_or_else(
        || "Debian has no peer for it".to_owned(),
        |peer| format!("the peer `{}`", version(peer)),
    );
    let mut notes = vec![
        format!("{kernel}: Linux {}; ours is `{}`, {peers}.", flavour.release(), version(ours)),
        agreement(&kernel, &counts(flavour, ours)?, &counts(flavour, again)?),
        steps(&kernel, "ours", &ours.crash()),
    ];
    notes.extend(peer.map(|peer| steps(&kernel, "peer", &peer.crash())));
    Ok(notes)
}

/// Everything of one of our boots that is counted.
fn counts(flavour: &Flavour, boot: &Boot) -> Result<Vec<(&'static str, Option<u64>)>, Error> {
    let first = flavour.wanted.ways.iter().filter(|way| way.unpacks).map(|_| FIRST);
    let loads = first.chain(flavour.wanted.ways.iter().map(|way| way.name));
    let loads = loads.map(|command| boot.command(command));
    let mut phases = loads.collect::<Result<Vec<_>, _>>()?;
    phases.extend(boot.crash());
    Ok(phases.into_iter().map(|phase| (phase.name, phase.instructions)).collect())
}

fn agreement(
    kernel: &str,
    first: &[(&str, Option<u64>)],
    second: &[(&str, Option<u64>)],
) -> String {
    if first == second {
        let length = first.len();
        return format!(
            "{kernel}: two runs of ours agree to the last digit in all {length} counts."
        );
    }
    format!("{kernel}: two runs of ours DIFFER: {first:?} and {second:?}.")
}

/// Where the instructions after the panic go.
fn steps(kernel: &str, whose: &str, phases: &[Phase]) -> String {
    let after_panic = phases.iter().skip_while(|phase| phase.name != "panic").skip(1);
    let steps: Vec<String> =
        after_panic.map(|phase| format!("{} {:.1}", phase.name, millions(phase))).collect();
    format!("{kernel}, {whose}, M instructions since the panic: {}.", steps.join(", "))
}
