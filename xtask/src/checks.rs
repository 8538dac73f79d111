//! `test`: everything.

use std::collections::VecDeque;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use e2e::arch::usual_kernel;
use e2e::cell::Cell;
use e2e::lab::Lab;
use e2e::matrix::{Planned, Runs, cells, kernels};
use e2e::outcome::{Outcome, Verdict};
use e2e::process;
use e2e::programs;
use e2e::scenario::list::Scenario;
use purgatorio::facts::Arch;

use crate::error::Error;
use crate::fuzz;
use crate::options::TestOptions;
use crate::report as readme;

/// What cargo checks, by name and arguments; with the purgatories and plans of every architecture.
#[rustfmt::skip] // one line each
const CARGO: [(&str, &[&str]); 5] = [
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--features", "every-arch", "--quiet", "--", "-D", "warnings"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--quiet"]),
    ("unit tests", &["test", "--workspace", "--features", "every-arch", "--quiet"]),
    ("core without std", &["build", "--quiet", "--lib", "--no-default-features", "--target", "x86_64-unknown-none"]),
];

/// How many passed and failed.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, passed: bool) {
        if passed { self.passed += 1 } else { self.failed += 1 }
    }
}

/// Runs everything; true if nothing failed. The last line says how many did.
pub fn test(options: &TestOptions) -> Result<bool, Error> {
    let mut tally = Tally::default();
    if options.only_e2e {
        println!("skipped: format, lints, unit tests, builds (--only-e2e)");
    } else {
        for (name, arguments) in CARGO {
            let mut command = programs::cargo();
            command.args(arguments);
            tally.count(check(name, &mut command));
        }
        fuzzing(&mut tally)?;
        tally.count(report("table of results in the README", readme::check()));
        for arch in options.archs() {
            let built = programs::dist(arch).map(drop);
            tally.count(report(&format!("static programs for {arch}"), built));
        }
    }
    if options.no_e2e {
        println!("skipped: end-to-end scenarios (--no-e2e)");
    } else {
        scenarios(options, &mut tally)?;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Every target on its seeds, and on inputs made from them.
fn fuzzing(tally: &mut Tally) -> Result<(), Error> {
    let is_built = report("fuzz targets", fuzz::build());
    tally.count(is_built);
    if !is_built {
        return Ok(());
    }
    for target in fuzz::targets()? {
        let run = fuzz::run(&target, fuzz::SHORT);
        let name = match &run {
            Ok(run) => format!("fuzz {target} ({} inputs, {} edges)", run.executions, run.edges),
            Err(_) => format!("fuzz {target}"),
        };
        tally.count(report(&name, run.map(drop)));
    }
    Ok(())
}

fn check(name: &str, command: &mut Command) -> bool {
    report(name, process::run(command))
}

fn report<E: std::error::Error + 'static>(name: &str, result: Result<(), E>) -> bool {
    match result {
        Ok(()) => {
            println!("pass  {name}");
            true
        }
        Err(error) => {
            println!("FAIL  {name}: {}", e2e::outcome::explain(&error));
            false
        }
    }
}

/// Every scenario on the kernel of each architecture that it is for, and a few on the other
/// kernels.
fn scenarios(options: &TestOptions, tally: &mut Tally) -> Result<(), Error> {
    let lab = Lab::prepare()?;
    let archs = options.archs();
    let mut queue = VecDeque::new();
    for (arch, label) in kernels(&archs) {
        let kernel = lab.kernel(arch, label)?;
        let (loader, initrd) = (lab.our_loader(arch)?, lab.capture_initrd(arch, &kernel)?);
        for Planned { scenario, runs, .. } in cells(arch, label) {
            if !options.scenario.is_empty() && !options.scenario.contains(&scenario) {
                continue;
            }
            match runs {
                Runs::Never(reason) if label == usual_kernel(arch) => {
                    println!("skip  {scenario} ({arch}): {reason}");
                }
                Runs::Never(_) | Runs::OnAnotherKernel => {}
                Runs::Yes => {
                    let name = format!("{arch}-{scenario}-{label}-ours");
                    let (kernel, loader, initrd) = (kernel.clone(), loader.clone(), initrd.clone());
                    queue.push_back((scenario, lab.cell(arch, &name, kernel, loader, initrd)));
                }
            }
        }
    }
    // Fetched and built now, so that no two machines do it at a time.
    if archs.contains(&Arch::X86_64) {
        lab.ovmf()?;
        lab.usual_kernel(Arch::I386)?;
    }
    let outcomes = run_all(&lab, queue, jobs(options));
    for outcome in &outcomes {
        tally.count(outcome.result == Verdict::Pass);
    }
    let path = options.json.clone().unwrap_or_else(|| lab.dir.join("results.json"));
    fs::write(&path, serde_json::to_string_pretty(&outcomes)?)
        .map_err(|source| Error::Write { path, source })
}

/// One machine takes little more than one CPU.
fn jobs(options: &TestOptions) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    options.jobs.unwrap_or(cpus).max(1)
}

fn run_all(lab: &Lab, queue: VecDeque<(Scenario, Cell)>, jobs: usize) -> Vec<Outcome> {
    let queue = Mutex::new(queue);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((scenario, cell)) = take(&queue) {
                    let started = Instant::now();
                    let outcome = scenario.run(lab, &cell);
                    say(&outcome, started.elapsed().as_secs());
                    lock(&outcomes).push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn take(queue: &Mutex<VecDeque<(Scenario, Cell)>>) -> Option<(Scenario, Cell)> {
    lock(queue).pop_front()
}

/// A thread that panicked left the data as it was after its last whole operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn say(outcome: &Outcome, seconds: u64) {
    let Outcome { scenario, arch, label, .. } = outcome;
    match &outcome.reason {
        None => println!("pass  {scenario} ({arch} {label}, {seconds} s)"),
        Some(reason) => println!(
            "FAIL  {scenario} ({arch} {label}, {seconds} s): {reason}\n      logs: {}",
            outcome.logs.display()
        ),
    }
}
