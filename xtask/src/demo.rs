//! `demo`: the main job, told in a dozen lines.

use e2e::lab::Lab;
use e2e::outcome::{Outcome, Verdict};
use e2e::scenario::list::Scenario;

use purgatorio::facts::Arch;

use crate::error::Error;

/// The machine of the demo.
const ARCH: Arch = Arch::X86_64;

/// Crashes a Debian kernel in QEMU and shows what became of it.
pub fn demo() -> Result<bool, Error> {
    println!("building the programs ...");
    let lab = Lab::prepare()?;
    println!("fetching Debian's kernel ...");
    let kernel = lab.usual_kernel(ARCH)?;
    let release = kernel.release();
    let capture_initrd = lab.capture_initrd(ARCH, &kernel)?;
    let mut cell = lab.cell(ARCH, "demo", kernel, lab.our_loader(ARCH)?, capture_initrd);
    cell.keep_dump = true;
    println!(
        "a machine with {} MiB boots Linux {release} and reserves {} for a capture kernel;",
        cell.memory,
        cell.crashkernel.as_deref().unwrap_or("nothing")
    );
    println!("  kexec loads it there; sysrq-c makes the first kernel panic ...");
    let outcome = Scenario::Crash.run(&lab, &cell);
    story(&outcome);
    match (&outcome.result, &outcome.dump) {
        (Verdict::Pass, Some(dump)) => {
            println!("demo: PASS {}", dump.display());
            Ok(true)
        }
        (Verdict::Pass | Verdict::Fail, _) => {
            println!("  {}", outcome.reason.unwrap_or_default());
            println!("demo: FAIL; the logs are in {}", outcome.logs.display());
            Ok(false)
        }
    }
}

fn story(outcome: &Outcome) {
    for phase in &outcome.phases {
        let words = match phase.name {
            "load" => {
                println!("  the capture kernel was loaded in {:.1} s", phase.seconds);
                continue;
            }
            "panic" => "the kernel panicked",
            "purgatory entered" => "purgatory started",
            "verified" => "the capture kernel was found undamaged",
            "handoff" => "purgatory handed over",
            "first kernel line" => "the capture kernel printed its first line",
            "capture /init" => "its /init started",
            "dump renamed" => "the dump was saved and checked",
            "reboot" => "the machine was reset",
            other => other,
        };
        println!("  {:6.2} s  {words}", phase.seconds);
    }
    let facts = [
        ("nonce_in_saved_log", "the saved log has what was printed before the panic"),
        ("pattern_at", "the dump has a page that the guest wrote, at physical address"),
        ("low_memory_bytes_equal", "low memory in the dump equals what was there; bytes"),
        ("makedumpfile_log_lines", "makedumpfile reads the kernel's log; lines"),
        ("readelf_loads", "readelf reads the headers; memory ranges"),
        ("gdb_read_at", "gdb reads the page at virtual address"),
    ];
    for (name, words) in facts {
        if let Some(value) = outcome.evidence.get(name) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            println!("  proven: {words}: {value}");
        }
    }
}
