//! Purgatory's digest code against the peer's, both on the host's CPU, over the same bytes.
//!
//! Each is a program of its own, compiled as its purgatory is. They take turns, so that a CPU that
//! slows down slows down both.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::debian::Suite;
use e2e::lab::{self, Lab};
use e2e::{process, programs};

use super::figure::Figure;
use super::{ARCH, Error, Measured};

/// Size of what is digested: more than the caches hold.
const BYTES: u32 = 64 << 20;
const PAGE_BYTES: u32 = 4096;
/// How often each program has its turn.
const TURNS: usize = 8;
/// Passes over the bytes in each turn.
const PASSES: usize = 3;

/// How many times as fast as the peer's purgatory ours is to be.
const GOAL: f64 = 6.0;

/// What kexec-tools 2.0.25 compiles purgatory's sha256.o with on x86_64: its purgatory/Makefile
/// and purgatory/arch/x86_64/Makefile.
const PEER_FLAGS: [&str; 10] = [
    "-mcmodel=large",
    "-Os",
    "-fno-builtin",
    "-ffreestanding",
    "-fno-zero-initialized-in-bss",
    "-fno-PIC",
    "-fno-PIE",
    "-fno-stack-protector",
    "-fno-tree-vectorize",
    "-O2",
];

/// The figures: with SHA instructions where the host's CPU has them, and without.
pub fn measure(lab: &Lab) -> Result<Measured, Error> {
    let folder = lab.fresh_folder("bench-digest")?;
    let message = folder.join("message");
    write_message(&message).map_err(|source| Error::File { path: message.clone(), source })?;
    let ours = our_program(lab)?;
    let peer = peer_program(lab, &folder)?;

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
    let figure = |name: &str, ours| Figure::new(name, "MB/s", ours, speeds[0]).higher();
    let scalar = figure("digest, scalar code", speeds[1]);
    Ok(match speeds.get(2) {
        Some(&speed) => Measured {
            figures: vec![figure("digest, SHA-NI, two streams", speed).goal(GOAL), scalar],
            notes: vec![],
        },
        None => Measured {
            figures: vec![scalar.goal(GOAL)],
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

fn write_message(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for page in 0..BYTES / PAGE_BYTES {
        file.write_all(&e2e_guest::pattern(page.into()))?;
    }
    file.flush()
}

/// Ours, in a target folder of its own, because the flags differ from those of everything else: as
/// in the image, whose target has no vector registers, the compiler uses none.
fn our_program(lab: &Lab) -> Result<PathBuf, Error> {
    let target = lab.dir.join("bench-target");
    let mut command = programs::cargo();
    command
        .args(["build", "--quiet", "--profile", "purgatory", "-p", "purgatory-x86"])
        .args(["--example", "digest", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cno-vectorize-loops\x1f-Cno-vectorize-slp");
    process::output(&mut command)?;
    Ok(target.join("purgatory/examples/digest"))
}

/// The peer's source from Debian, compiled as its Makefile does, with a main program of ours.
fn peer_program(lab: &Lab, folder: &Path) -> Result<PathBuf, Error> {
    let source =
        lab.archive(ARCH, Suite::Bookworm)?.source("kexec-tools").map_err(lab::Error::from)?;
    let main = programs::root().join("xtask/src/bench/peer_digest.c");
    let (object, program) = (folder.join("sha256.o"), folder.join("peer_digest"));
    let compiler = || {
        let mut command = Command::new("cc");
        command.arg("-I").arg(source.join("util_lib/include")).arg("-o");
        command
    };
    process::output(
        compiler().arg(&object).args(PEER_FLAGS).arg("-c").arg(source.join("util_lib/sha256.c")),
    )?;
    // -no-pie: the object is not position-independent.
    process::output(compiler().arg(&program).args(["-O2", "-no-pie"]).arg(&main).arg(&object))?;
    Ok(program)
}
