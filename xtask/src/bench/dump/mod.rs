//! `cargo xtask bench --dump`: our dump writer and the peer's (Debian's makedumpfile), side by
//! side on the same core.
//!
//! The core is in the page cache and the dumps go to memory, so that no disk is measured. The
//! programs take turns, so that a host that slows down slows down both; medians count.

mod makedumpfile;
mod usage;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::dump;
use e2e::lab::Lab;
use e2e::outcome::Verdict;
use e2e::scenario::list::Scenario;
use purgatorio::facts::Arch;

use super::figure::Figure;
use super::subject::MEMORY;
use super::{Error, Measured};
use makedumpfile::Peer;
use usage::{Usage, median};

/// The host's, whose programs are measured, and of the core that is made if none is given.
const ARCH: Arch = Arch::X86_64;

/// Where the dumps go: a file system in memory.
const OUTPUT: &str = "/dev/shm";

/// How often each program has its turn at a cell.
const TURNS: usize = 5;

/// How large our dump may be, as a part of the peer's.
const SIZE_GOAL: f64 = 1.02;

const MEGABYTE: f64 = 1e6;

/// The figures of saving `core`; of a new one, if none is given.
pub fn measure(lab: &Lab, core: Option<&Path>) -> Result<Measured, Error> {
    let core = match core {
        Some(given) => given.to_owned(),
        None => fresh_core(lab)?,
    };
    let ours = lab.programs(ARCH)?.dist.join("kdump");
    let peer = Peer::prepare(lab)?;
    let core_bytes = read_once(&core)?;
    let folder = tempfile::tempdir_in(OUTPUT)
        .map_err(|source| Error::File { path: OUTPUT.into(), source })?;
    let out = |name: &str| folder.path().join(name);

    let mut contests: Vec<Contest> = cells().map(Contest::new).collect();
    for _ in 0..TURNS {
        for contest in &mut contests {
            let cell = contest.cell;
            contest.ours.turn(save(&ours, cell, &core, &out("ours")), &out("ours"))?;
            contest.peer.turn(peer.command(cell, &core, &out("peer")), &out("peer"))?;
            same_log(&peer, cell, &out("ours"), &out("peer"))?;
        }
    }
    let figures = contests.iter().flat_map(|contest| contest.figures(core_bytes)).collect();
    let notes = vec![
        format!(
            "Core of {:.0} MB ({core_bytes} bytes), read from the page cache; dumps in {OUTPUT}; \
             medians of {TURNS} turns; no disk is involved.",
            core_bytes as f64 / MEGABYTE
        ),
        peer.describe()?,
        format!(
            "No peak memory below {:.1} MB can be seen: the program that starts the others has it.",
            usage::of(&mut Command::new("true"))?.peak_bytes as f64 / MEGABYTE
        ),
    ];
    Ok(Measured { figures, notes })
}

/// What is to be done: one row of goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    compression: Compression,
    /// Which pages are left out, in makedumpfile's numbers.
    level: u8,
    threads: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Zlib,
    Zstd,
}

impl Compression {
    const fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compression, level, threads } = *self;
        let plural = if threads == 1 { "" } else { "s" };
        write!(f, "{}, level {level}, {threads} thread{plural}", compression.name())
    }
}

impl Cell {
    /// How many times as fast as the peer's our program is to be.
    fn speed_goal(self) -> f64 {
        if self.threads == 1 { 2.0 } else { 3.0 }
    }
}

fn cells() -> impl Iterator<Item = Cell> {
    [Compression::Zlib, Compression::Zstd].into_iter().flat_map(|compression| {
        let level = move |level| [1, 4].map(|threads| Cell { compression, level, threads });
        [31, 0].into_iter().flat_map(level)
    })
}

/// Our program at work.
fn save(program: &Path, cell: Cell, core: &Path, out: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["save", "-d", &cell.level.to_string()])
        .args(["--compress", cell.compression.name(), "--threads", &cell.threads.to_string()])
        .args([core, out]);
    command
}

/// A cell with what both programs were seen to take.
struct Contest {
    cell: Cell,
    ours: Turns,
    peer: Turns,
}

/// What a program took in its turns, and what it left.
#[derive(Default)]
struct Turns {
    usages: Vec<Usage>,
    bytes: u64,
}

impl Turns {
    /// Runs `command`, which makes `out`; what an earlier turn left there is removed first.
    fn turn(&mut self, mut command: Command, out: &Path) -> Result<(), Error> {
        let failed = |source| Error::File { path: out.to_owned(), source };
        if out.exists() {
            fs::remove_file(out).map_err(failed)?;
        }
        self.usages.push(usage::of(&mut command)?);
        self.bytes = fs::metadata(out).map_err(failed)?.len();
        Ok(())
    }

    fn median(&self, value: impl Fn(&Usage) -> f64) -> f64 {
        median(self.usages.iter().map(value).collect())
    }
}

impl Contest {
    fn new(cell: Cell) -> Self {
        Self { cell, ours: Turns::default(), peer: Turns::default() }
    }

    fn figures(&self, core_bytes: u64) -> [Figure; 5] {
        let Self { cell, ours, peer } = self;
        let figure = |what: &str, unit, value: &dyn Fn(&Turns) -> f64| {
            Figure::new(ARCH, format!("{cell}: {what}"), unit, value(ours), Some(value(peer)))
        };
        let wall = |turns: &Turns| turns.median(|usage| usage.wall.as_secs_f64());
        [
            figure("speed", "MB/s", &|turns| core_bytes as f64 / MEGABYTE / wall(turns))
                .higher()
                .goal(Some(cell.speed_goal())),
            figure("time", "ms", &|turns| wall(turns) * 1e3),
            figure("user and system time", "ms", &|turns| {
                turns.median(|usage| usage.cpu.as_secs_f64()) * 1e3
            }),
            figure("size", "MB", &|turns| turns.bytes as f64 / MEGABYTE).goal(Some(SIZE_GOAL)),
            figure("peak memory", "MB", &|turns| {
                turns.median(|usage| usage.peak_bytes as f64) / MEGABYTE
            }),
        ]
    }
}

/// Crashes the usual machine and keeps its memory, unfiltered and in ELF.
fn fresh_core(lab: &Lab) -> Result<PathBuf, Error> {
    let kernel = lab.usual_kernel(ARCH)?;
    let capture_initrd = lab.capture_initrd(ARCH, &kernel)?;
    let mut cell = lab.cell(ARCH, "bench-dump", kernel, lab.our_loader(ARCH)?, capture_initrd);
    cell.memory = MEMORY;
    cell.keep_dump = true;
    let outcome = Scenario::Crash.run(lab, &cell);
    match (outcome.result, outcome.dump) {
        (Verdict::Pass, Some(dump)) => Ok(dump),
        (Verdict::Pass | Verdict::Fail, _) => {
            Err(Error::NoCore { reason: outcome.reason.unwrap_or_default(), logs: outcome.logs })
        }
    }
}

/// Brings `core` into the page cache; its size in bytes.
fn read_once(core: &Path) -> Result<u64, Error> {
    let read = || io::copy(&mut File::open(core)?, &mut io::sink());
    read().map_err(|source| Error::File { path: core.to_owned(), source })
}

/// A dump that nobody can read would be made quickly for no reason: the peer has to find the
/// same kernel log in both.
fn same_log(peer: &Peer, cell: Cell, ours: &Path, peers: &Path) -> Result<(), Error> {
    let log = |dump: &Path| {
        dump::kernel_log_by(peer.reader(), dump)
            .map_err(|source| Error::Unreadable { cell: cell.to_string(), source })
    };
    let (in_ours, in_peers) = (log(ours)?, log(peers)?);
    if in_ours == in_peers && !in_ours.is_empty() {
        return Ok(());
    }
    Err(Error::Logs { cell: cell.to_string() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use e2e::process;

    use super::*;

    const CELL: Cell = Cell { compression: Compression::Zstd, level: 31, threads: 4 };

    fn turns(milliseconds: [u64; 3], bytes: u64) -> Turns {
        let usage = |wall| Usage {
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(2 * wall),
            peak_bytes: 1_000_000 * wall,
        };
        Turns { usages: milliseconds.into_iter().map(usage).collect(), bytes }
    }

    #[test]
    fn every_cell_is_there_once() {
        let all: Vec<Cell> = cells().collect();
        assert_eq!(all.len(), 8);
        for (number, cell) in all.iter().enumerate() {
            assert!(!all[..number].contains(cell), "{cell} is there twice");
        }
        assert_eq!(all[0].to_string(), "zlib, level 31, 1 thread");
        assert_eq!(all[7].to_string(), "zstd, level 0, 4 threads");
    }

    #[test]
    fn a_cell_is_measured_by_its_medians() {
        let contest = Contest {
            cell: CELL,
            ours: turns([900, 100, 110], 103),
            peer: turns([330, 2, 500], 100),
        };
        let [speed, time, cpu, size, memory] = contest.figures(220_000_000);
        assert_eq!(speed.ours, 2000.0);
        assert_eq!(speed.reached(), Some(true), "three times as fast: {speed:?}");
        assert_eq!((time.ours, time.peer), (110.0, Some(330.0)));
        assert_eq!((cpu.ours, cpu.peer), (220.0, Some(660.0)));
        assert_eq!(size.reached(), Some(false), "three percent larger");
        assert_eq!((memory.ours, memory.peer), (110.0, Some(330.0)));
    }

    #[test]
    fn twice_the_speed_is_too_little_with_four_threads() {
        let reached = |threads| {
            let cell = Cell { threads, ..CELL };
            let contest = Contest { cell, ours: turns([100; 3], 1), peer: turns([200; 3], 1) };
            contest.figures(1 << 30)[0].reached()
        };
        assert_eq!((reached(1), reached(4)), (Some(true), Some(false)));
    }

    #[test]
    fn our_program_is_told_what_the_cell_wants() {
        let command = save(Path::new("kdump"), CELL, Path::new("core"), Path::new("out"));
        let wanted = "kdump save -d 31 --compress zstd --threads 4 core out";
        assert_eq!(process::show(&command), wanted);
    }
}
