//! How fast the host's CPU digests.
//!
//! The programs take turns, so that a CPU that slows down slows down both.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use e2e::lab::Lab;
use e2e::process;
use purgatorio::facts::Arch;

use super::super::figure::Figure;
use super::super::{Error, Measured};
use super::{our_program, peer_program, write_message};

/// The host's, which all of this needs.
const ARCH: Arch = Arch::X86_64;

/// Size of what is digested: more than the caches hold.
const BYTES: u32 = 64 << 20;
/// How often each program has its turn.
const TURNS: usize = 8;
/// Passes over the bytes in each turn.
const PASSES: usize = 3;

/// How many times as fast as the peer's purgatory ours is to be.
const GOAL: f64 = 6.0;

/// The figures: with SHA instructions where the host's CPU has them, and without.
pub fn measure(lab: &Lab) -> Result<Measured, Error> {
    let folder = lab.fresh_folder("bench-digest")?;
    let message = folder.join("message");
    write_message(&message, BYTES)?;
    let ours = our_program(ARCH)?;
    let Some(peer) = peer_program(lab, ARCH, &folder)? else { return Ok(Measured::default()) };

    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_sha_ni = cpu.split_whitespace().any(|word| word == "sha_ni");
    let mut contestants =
        vec![Contestant::new(&peer, &[], &message), Contestant::new(&ours, &["scalar"], &message)];
    if has_sha_ni {
        contestants.push(Contestant::new(&ours, &["sha-ni"], &message));
    }
    for _ in 0..TURNS {
        for contestant in &mut contestants {
            contestant.turn()?;
        }
    }
    agree(&contestants)?;

    let speeds: Vec<f64> = contestants.iter().map(Contestant::speed).collect();
    let figure = |name: &str, ours| Figure::new(ARCH, name, "MB/s", ours, Some(speeds[0])).higher();
    let scalar = figure("digest, scalar code", speeds[1]);
    Ok(match speeds.get(2) {
        Some(&speed) => Measured {
            figures: vec![figure("digest, SHA-NI, two streams", speed).goal(Some(GOAL)), scalar],
            notes: vec![],
        },
        None => Measured {
            figures: vec![scalar.goal(Some(GOAL))],
            notes: vec![
                "The host's CPU has no SHA instructions: the digest is scalar code.".into(),
            ],
        },
    })
}

/// One of the programs, with what it was seen to take.
struct Contestant {
    program: PathBuf,
    arguments: Vec<String>,
    digest: String,
    nanoseconds: Vec<u64>,
}

impl Contestant {
    fn new(program: &Path, options: &[&str], message: &Path) -> Self {
        let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        arguments.extend([message.display().to_string(), PASSES.to_string()]);
        Self { program: program.into(), arguments, digest: String::new(), nanoseconds: vec![] }
    }

    fn turn(&mut self) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        let output = process::output(command.args(&self.arguments))?;
        let mut lines = output.lines();
        self.digest = lines.next().unwrap_or_default().to_owned();
        self.nanoseconds.extend(lines.filter_map(|line| line.parse::<u64>().ok()));
        Ok(())
    }

    /// MB/s of the shortest pass: whatever else the host does only adds to a pass.
    fn speed(&self) -> f64 {
        let shortest = self.nanoseconds.iter().min().copied().unwrap_or(u64::MAX);
        f64::from(BYTES) * 1e3 / shortest as f64
    }
}

/// A program that computes something else would be quick for no reason.
fn agree(contestants: &[Contestant]) -> Result<(), Error> {
    let digests: Vec<&str> = contestants.iter().map(|one| one.digest.as_str()).collect();
    let complete = contestants.iter().all(|one| one.nanoseconds.len() == TURNS * PASSES);
    if complete && digests.iter().all(|digest| digest.len() == 64 && *digest == digests[0]) {
        return Ok(());
    }
    Err(Error::Digests { digests: digests.join(", ") })
}
