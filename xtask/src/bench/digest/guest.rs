//! How many instructions a byte takes on the guest's CPU.

use e2e::first_boot::GuestFile;
use e2e::lab::{Lab, Watch};

use super::super::figure::Figure;
use super::super::guest::{self, Boot, Command, Then};
use super::super::subject::{Flavour, Subject};
use super::super::{Error, Measured};
use super::{instructions, our_program, peer_program, write_message};

/// Size of what is digested.
const BYTES: u32 = 1 << 20;

/// Where things lie in the guest.
const MESSAGE: &str = "/e2e/message";
const OURS: &str = "/e2e/digest";
const PEER: &str = "/e2e/peer-digest";

/// Passes over the bytes in a program's shorter and longer run: what else a program does is the
/// same in both.
const PASSES: [u32; 2] = [1, 5];

/// A program with its first arguments, and the names of its two commands.
struct Contestant {
    argv: Vec<String>,
    runs: [&'static str; 2],
}

/// The figures.
pub fn measure(lab: &Lab, subject: &Subject, flavour: &Flavour) -> Result<Measured, Error> {
    let cell = flavour.cell(lab, "digest", &subject.ours, "");
    let folder = lab.fresh_folder(&format!("{}-programs", cell.name))?;
    let message = folder.join("message");
    write_message(&message, BYTES)?;
    let ours = our_program(subject.arch)?;
    let peer = peer_program(lab, subject.arch, &folder)?;

    let mut files = vec![GuestFile::copy(MESSAGE, &message), GuestFile::program(OURS, &ours)];
    files.extend(peer.iter().map(|program| GuestFile::program(PEER, program)));
    let by_instructions = Contestant::new(&[OURS, instructions(subject.arch)], ["own-1", "own-5"]);
    let scalar = Contestant::new(&[OURS, "scalar"], ["scalar-1", "scalar-5"]);
    let peer = peer.map(|_| Contestant::new(&[PEER], ["peer-1", "peer-5"]));
    let commands: Vec<Command> = [&by_instructions, &scalar]
        .into_iter()
        .chain(&peer)
        .flat_map(Contestant::commands)
        .collect();
    let boot = guest::boot(lab, &cell, &commands, &files, Then::PowerOff, Watch::Instructions)?;
    agree(&boot, commands.len())?;

    let peers = peer.map(|peer| peer.per_byte(&boot)).transpose()?;
    let figure = |kind: &str, contestant: &Contestant| {
        let ours = contestant.per_byte(&boot)?;
        let name = format!("digest, {kind}");
        Ok::<_, Error>(Figure::new(subject.arch, name, "instructions/byte", ours, peers))
    };
    let figures = vec![
        figure(&format!("{}, four streams", instructions(subject.arch)), &by_instructions)?,
        figure("scalar code", &scalar)?,
    ];
    // Never slower, whatever the CPU has.
    Ok(Measured {
        figures: figures.into_iter().map(|f| f.goal(Some(1.0))).collect(),
        notes: vec![],
    })
}

impl Contestant {
    fn new(argv: &[&str], runs: [&'static str; 2]) -> Self {
        Self { argv: argv.iter().map(|&word| word.to_owned()).collect(), runs }
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        self.runs.iter().zip(PASSES).map(|(&name, passes)| {
            let mut argv = self.argv.clone();
            argv.extend([MESSAGE.to_owned(), passes.to_string()]);
            Command { name, argv }
        })
    }

    fn per_byte(&self, boot: &Boot) -> Result<f64, Error> {
        let [shorter, longer] = self
            .runs
            .map(|name| boot.command(name).map(|phase| phase.instructions.unwrap_or_default()));
        let difference = longer?.saturating_sub(shorter?);
        Ok(difference as f64 / (f64::from(BYTES) * f64::from(PASSES[1] - PASSES[0])))
    }
}

/// Every one of the `runs` has to print the same digest: a program that computes something else
/// would be quick for no reason.
fn agree(boot: &Boot, runs: usize) -> Result<(), Error> {
    let digests: Vec<String> = boot.output().into_iter().filter(|line| line.len() == 64).collect();
    if digests.len() == runs && digests.iter().all(|digest| *digest == digests[0]) {
        return Ok(());
    }
    Err(Error::Digests { digests: digests.join(", ") })
}
