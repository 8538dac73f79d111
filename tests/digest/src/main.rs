//! `digest KIND FILE PASSES`: goes over a file as purgatory goes over a region, its four quarters
//! as streams, with purgatory's own code. KIND is `scalar` or the CPU's instructions: `sha-ni`,
//! `vshasigma`.
//!
//! Prints the digest of the whole file, then the nanoseconds of each pass, one to a line.
//! `cargo xtask bench` builds it with the profile of purgatory's images.

mod machine;

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use purgatory::params::Region;
use purgatory::sha256::{Block, Digest, State, digest, digest_four};

/// Compresses the blocks of four streams into their states.
type CompressFour = fn(&mut [State; 4], [&[Block]; 4]);

fn main() -> ExitCode {
    match run(&env::args().collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("digest: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [_, kind, file, passes] = arguments else {
        return Err(format!("usage: digest scalar|{} FILE PASSES", machine::KIND));
    };
    let compress_four: CompressFour = match kind.as_str() {
        "scalar" => by_scalar_code,
        machine::KIND => machine::by_instructions()?,
        other => return Err(format!("{other}: neither scalar nor {}", machine::KIND)),
    };
    let passes: u32 = passes.parse().map_err(|_| format!("{passes}: not a number"))?;
    let message = fs::read(file).map_err(|e| format!("{file}: {e}"))?;

    let quarters = Region::quarters(&message);
    if digest_four(compress_four, quarters) != quarters.map(digest) {
        return Err(format!("{kind} gives wrong digests"));
    }
    let digest: String = digest(&message).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{digest}");
    for _ in 0..passes {
        let start = Instant::now();
        black_box::<[Digest; 4]>(digest_four(compress_four, black_box(quarters)));
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}

/// What purgatory does on a CPU without instructions for SHA-256.
fn by_scalar_code(states: &mut [State; 4], blocks: [&[Block]; 4]) {
    for (state, blocks) in states.iter_mut().zip(blocks) {
        machine::compress_scalar(state, blocks);
    }
}
