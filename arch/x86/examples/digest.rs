//! `digest sha-ni|scalar FILE PASSES`: times purgatory's own digest code on the CPU that runs
//! this, as it goes over a region: the two halves of the file as two streams.
//!
//! Prints the digest of the whole file, then the nanoseconds of each pass, one to a line.
//! `cargo xtask bench` builds it as the purgatory images are built: with the profile `purgatory`.

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use purgatory::sha256::{Block, Digest, State, compress, digest, digest_pair};
use purgatory_x86::{cpu, sha_ni};

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
        return Err("usage: digest sha-ni|scalar FILE PASSES".into());
    };
    let digest_halves: fn(&[u8]) -> [Digest; 2] = match kind.as_str() {
        "sha-ni" if cpu::has_sha_ni() => by_sha_ni,
        "sha-ni" => return Err("this CPU has no SHA instructions".into()),
        "scalar" => by_scalar_code,
        other => return Err(format!("{other}: neither sha-ni nor scalar")),
    };
    let passes: u32 = passes.parse().map_err(|_| format!("{passes}: not a number"))?;
    let message = fs::read(file).map_err(|e| format!("{file}: {e}"))?;

    let (first, second) = message.split_at(message.len() / 2);
    if digest_halves(&message) != [digest(first), digest(second)] {
        return Err(format!("{kind} gives wrong digests"));
    }
    let digest: String = digest(&message).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{digest}");
    for _ in 0..passes {
        let start = Instant::now();
        black_box(digest_halves(black_box(&message)));
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}

fn by_sha_ni(message: &[u8]) -> [Digest; 2] {
    let compress_pair = |states: &mut [State; 2], blocks: [&[Block]; 2]| {
        // SAFETY: `run` has asked the CPU; an operating system has SSE switched on.
        unsafe { sha_ni::compress_pair(states, blocks) }
    };
    digest_pair(compress_pair, message.split_at(message.len() / 2).into())
}

/// What purgatory does on a CPU without SHA instructions.
fn by_scalar_code(message: &[u8]) -> [Digest; 2] {
    let compress_pair = |states: &mut [State; 2], blocks: [&[Block]; 2]| {
        compress(&mut states[0], blocks[0]);
        compress(&mut states[1], blocks[1]);
    };
    digest_pair(compress_pair, message.split_at(message.len() / 2).into())
}
