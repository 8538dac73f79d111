//! A crash: what the load of the capture kernel costs before it, and how long it takes from the
//! panic to the capture kernel's first line and to its /init.

use e2e::cell::{Cell, LOADER, SECOND_INITRD, SECOND_KERNEL};
use e2e::lab::{Lab, Watch};
use e2e::loader::{Loader, Maker};
use e2e::phases::Phase;

use super::figure::Figure;
use super::guest::{self, Boot, Command, Then};
use super::{ARCH, Error, Flavour, Loaders, Measured};

/// Names of the commands that load.
const BZIMAGE: &str = "bzimage";
const DIRECT: &str = "direct";
/// The peer's only way, that of a bzImage.
const PEER: &str = "load";

/// Boots whose seconds are measured. The shortest time counts: a busy host only adds to it.
const TIMED_TURNS: [&str; 2] = ["timed-1", "timed-2"];

/// Bounds on the ratios.
struct Goals {
    first_line: f64,
    capture_init: f64,
    load_bzimage: f64,
    load_direct: Option<f64>,
}

fn goals(flavour: &Flavour) -> Goals {
    match flavour.compression {
        "XZ" => Goals {
            first_line: 1.0 / 30.0,
            capture_init: 0.2,
            load_bzimage: 1.0 / 15.0,
            load_direct: Some(1.5),
        },
        _quick_to_unpack => Goals {
            first_line: 1.0 / 12.0,
            capture_init: 0.4,
            load_bzimage: 1.0 / 15.0,
            load_direct: None,
        },
    }
}

/// The figures of one kernel.
pub fn measure(lab: &Lab, flavour: &Flavour, loaders: &Loaders) -> Result<Measured, Error> {
    let counted = |loader, turn| boot(lab, flavour, loader, Watch::Instructions, turn);
    let (ours, again) = (counted(&loaders.ours, "1")?, counted(&loaders.ours, "2")?);
    let peer = counted(&loaders.peer, "1")?;
    let timed = |loader, turn| boot(lab, flavour, loader, Watch::Plain, turn);
    let (mut ours_timed, mut peer_timed) = (Vec::new(), Vec::new());
    for turn in TIMED_TURNS {
        ours_timed.push(timed(&loaders.ours, turn)?);
        peer_timed.push(timed(&loaders.peer, turn)?);
    }

    let kernel = format!("{} ({})", flavour.name, flavour.compression);
    let goals = goals(flavour);
    let mut figures = Vec::new();
    for (step, goal) in
        [("first kernel line", goals.first_line), ("capture /init", goals.capture_init)]
    {
        let name = format!("panic to {step}, {kernel}");
        let counts = (millions(&ours.since_panic(step)?), millions(&peer.since_panic(step)?));
        figures.push(Figure::new(&name, "M instructions", counts.0, counts.1).goal(goal));
        let since_panic = |boot: &Boot| boot.since_panic(step);
        let times = (shortest(&ours_timed, since_panic)?, shortest(&peer_timed, since_panic)?);
        figures.push(Figure::new(&name, "s", times.0, times.1));
    }
    let peer_load = millions(&peer.command(PEER)?);
    let peer_load_time = shortest(&peer_timed, |boot| boot.command(PEER))?;
    for (mode, goal) in [(BZIMAGE, Some(goals.load_bzimage)), (DIRECT, goals.load_direct)] {
        let name = format!("load for a crash, {mode}, {kernel}");
        let count = millions(&ours.command(mode)?);
        let figure = Figure::new(&name, "M instructions", count, peer_load);
        figures.push(match goal {
            Some(goal) => figure.goal(goal),
            None => figure,
        });
        let time = shortest(&ours_timed, |boot| boot.command(mode))?;
        figures.push(Figure::new(name, "s", time, peer_load_time));
    }
    let version = |boot: &Boot| boot.output().into_iter().next().unwrap_or_default();
    let notes = vec![
        format!(
            "{kernel}: Linux {}; ours is `{}`, the peer `{}`.",
            flavour.kernel.release(),
            version(&ours),
            version(&peer)
        ),
        agreement(&kernel, &counts(&ours)?, &counts(&again)?),
        steps(&kernel, "ours", &ours.crash()),
        steps(&kernel, "peer", &peer.crash()),
    ];
    Ok(Measured { figures, notes })
}

fn boot(
    lab: &Lab,
    flavour: &Flavour,
    loader: &Loader,
    watch: Watch,
    turn: &str,
) -> Result<Boot, Error> {
    let name = format!("bench-crash-{}-{}-{turn}", flavour.name, loader.maker.name());
    let (kernel, initrd) = (flavour.kernel.clone(), flavour.capture_initrd.clone());
    let cell = lab.cell(ARCH, &name, kernel, loader.clone(), initrd);
    guest::boot(lab, &cell, &commands(&cell), Then::Panic, watch)
}

/// Ours loads in both ways, and what is loaded last, the default, runs after the panic.
fn commands(cell: &Cell) -> Vec<Command> {
    let run = |name, arguments: &[&str]| Command {
        name,
        argv: [LOADER].iter().chain(arguments).map(|&argument| argument.to_owned()).collect(),
    };
    let mut commands = vec![run("version", &["-v"])];
    match cell.loader.maker {
        Maker::Ours => commands.extend([
            Command { name: BZIMAGE, argv: load(cell, &["--entry-mode", "bzimage"]) },
            run("unload", &["-p", "-u"]),
            Command { name: DIRECT, argv: load(cell, &["--entry-mode", "direct"]) },
        ]),
        // Its purgatory is silent unless told otherwise; ours takes the kernel's console.
        Maker::Peer => {
            commands.push(Command { name: PEER, argv: load(cell, &["--console-serial"]) });
        }
    }
    commands
}

/// The command that loads the capture kernel.
pub fn load(cell: &Cell, options: &[&str]) -> Vec<String> {
    let mut argv: Vec<String> = [LOADER, "-p", "-c"].map(String::from).into();
    argv.extend(options.iter().map(|&option| option.to_owned()));
    argv.push(format!("--initrd={SECOND_INITRD}"));
    argv.push(format!("--append={}", cell.capture_command_line()));
    argv.push(SECOND_KERNEL.into());
    argv
}

/// Seconds of the quickest boot.
fn shortest(boots: &[Boot], phase: impl Fn(&Boot) -> Result<Phase, Error>) -> Result<f64, Error> {
    boots.iter().map(phase).try_fold(f64::INFINITY, |best, phase| Ok(best.min(phase?.seconds)))
}

fn millions(phase: &Phase) -> f64 {
    phase.instructions.unwrap_or_default() as f64 / 1e6
}

/// Everything of one of our boots that is counted.
fn counts(boot: &Boot) -> Result<Vec<(&'static str, Option<u64>)>, Error> {
    let mut phases = vec![boot.command(BZIMAGE)?, boot.command(DIRECT)?];
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
