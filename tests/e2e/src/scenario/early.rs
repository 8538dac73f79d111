//! Early loading, in the initrd that Debian's initramfs-tools makes: the capture kernel is there
//! from the first moment of user space, and nothing else is different.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use e2e_guest::{SCRIPT, Script, Step, Trigger, pattern};
use kdump::initramfs::Initramfs;
use serde_json::json;

use super::crash::{copy_dump, dump_disk, nonce, remove, saved, seed};
use super::guest::{run_step, show_step, value};
use super::{Error, PATIENCE, bad_input, proof, prove};
use crate::cell::Cell;
use crate::disk::{Disk, TARGET};
use crate::first_boot;
use crate::initramfs_tools::EARLY_GUEST;
use crate::lab::{Lab, Watch};
use crate::outcome::Evidence;
use crate::phases::{self, Phase};
use crate::qemu::{End, Qemu};

/// What happens to the machine whose initrd loads the capture kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It panics before the initrd has looked for the root file system.
    UserSpace,
    /// It panics when it runs from its root file system.
    Root,
    /// Nothing; it is compared with the same machine without early loading.
    Unseen,
    /// The capture kernel cannot be loaded, or is not to be: it boots all the same.
    NotLoaded,
}

/// What a run left.
#[derive(Debug)]
pub struct Report {
    /// How long the steps after a panic took.
    pub phases: Vec<Phase>,
    /// What was seen.
    pub evidence: Evidence,
}

const CRASH_LOADED: &str = "/sys/kernel/kexec_crash_loaded";
/// What the program in the initrd says where all is well.
const LOADED: &str = "kdump: early: capture kernel loaded";

/// Runs `early` on the cell.
pub fn run(lab: &Lab, cell: &Cell, early: Early) -> Result<Report, Error> {
    match early {
        Early::UserSpace => crash_in_user_space(lab, cell),
        Early::Root => crash_on_root(lab, cell),
        Early::Unseen => unseen(lab, cell),
        Early::NotLoaded => not_loaded(lab, cell),
    }
}

fn crash_in_user_space(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let crash = Crash::new();
    let base = base(lab, cell, &folder, Some(&crash.script()))?;
    let initrd = early_initrd(lab, cell, &base, &folder)?;
    let disk = dump_disk(&folder, cell)?;
    let mut qemu = lab.start(cell, &folder, &initrd, Some(&disk), Watch::Plain)?;
    qemu.serial.wait_for(LOADED, PATIENCE)?;
    crash.proved(&mut qemu, cell, &disk, &folder)
}

fn crash_on_root(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let crash = Crash::new();
    let base = base(lab, cell, &folder, None)?;
    let initrd = early_initrd(lab, cell, &base, &folder)?;
    let disk = root_disk(lab, cell, &folder, &crash.script())?;
    let mut qemu = lab.start(&on_root(cell), &folder, &initrd, Some(&disk), Watch::Plain)?;
    qemu.serial.wait_for(LOADED, PATIENCE)?;
    crash.proved(&mut qemu, cell, &disk, &folder)
}

/// A panic of a machine in which the capture kernel was loaded early.
struct Crash {
    nonce: String,
    seed: u64,
}

impl Crash {
    fn new() -> Self {
        let nonce = nonce();
        let seed = seed(&nonce);
        Self { nonce, seed }
    }

    fn script(&self) -> Script {
        Script {
            steps: vec![
                show_step(CRASH_LOADED),
                Step::Nonce { text: self.nonce.clone() },
                Step::Pattern { seed: self.seed },
                Step::Panic { trigger: Trigger::Sysrq, cpu: 0 },
            ],
        }
    }

    /// The machine, which is about to run the script, leaves a true dump on `disk`.
    fn proved(
        &self,
        qemu: &mut Qemu,
        cell: &Cell,
        disk: &Disk,
        folder: &Path,
    ) -> Result<Report, Error> {
        let loaded = value(qemu, &format!("e2e: show {CRASH_LOADED} "))?;
        prove(loaded == "1", || format!("{CRASH_LOADED} is {loaded:?} before the panic"))?;
        let address = value(qemu, "e2e: pattern 0x")?;
        let address = u64::from_str_radix(&address, 16)
            .map_err(|_| Error::Proof(format!("pattern at {address:?} is no address")))?;
        let saved = saved(qemu)?;
        let dump = copy_dump(disk, &saved, folder)?;
        remove(&disk.image)?;
        let mut evidence = Evidence::new();
        proof::nonce_in_log(folder, &self.nonce, &mut evidence)?;
        let pattern = pattern(self.seed);
        proof::dump_is_true(&dump, cell, &self.nonce, address, &pattern, &mut evidence)?;
        remove(&dump)?;
        let phases = phases::crash(&phases::from_serial(qemu.serial.lines()));
        Ok(Report { phases, evidence })
    }
}

/// Boots twice, without and with early loading, and compares what the scripts of the initrd see.
fn unseen(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let base = base(lab, cell, &folder, Some(&looks()))?;
    let initrd = early_initrd(lab, cell, &base, &folder)?;
    let without = seen(lab, cell, &folder.join("without"), &base)?;
    let with = seen(lab, cell, &folder.join("with"), &initrd)?;

    let differs: Vec<_> = without.lines.symmetric_difference(&with.lines).collect();
    prove(differs.is_empty(), || format!("with early loading this is different: {differs:#?}"))?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let added = size(&initrd).saturating_sub(size(&base)) >> 10;
    let kept = without.free_kib.saturating_sub(with.free_kib);
    // Of the memory that the archive took, all is free again but what two boots differ in.
    prove(kept < added / 4, || format!("{kept} KiB of the {added} KiB added are still in use"))?;
    let mut evidence = Evidence::new();
    evidence.insert("lines_equal".into(), json!(with.lines.len()));
    evidence.insert("added_kib".into(), json!(added));
    evidence.insert("still_used_kib".into(), json!(kept));
    Ok(Report { phases: Vec::new(), evidence })
}

/// What a script of the initrd sees.
struct Seen {
    /// Every line of it that must be the same.
    lines: BTreeSet<String>,
    /// `MemFree` in KiB.
    free_kib: u64,
}

const MOUNTS: &str = "/proc/mounts";
const MEMORY: &str = "/proc/meminfo";

/// What could tell that something ran before the original /init.
fn looks() -> Script {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    Script {
        steps: vec![
            show_step("/proc/1/cmdline"),
            show_step("/proc/1/environ"),
            show_step(MOUNTS),
            // Type and mode, owner, names, size and path of everything in the initramfs.
            run_step("files", words("find / -xdev -exec stat -c %f:%u:%g:%h:%s:%n {} +")),
            run_step("init", words("sha256sum /init")),
            run_step("status", words("grep -E ^(Umask|NSpid|Threads|Sig[BIC]) /proc/1/status")),
            run_step("open", words("ls /proc/1/fd")),
            run_step("where", words("stat -c %N /proc/1/exe /proc/1/cwd /proc/1/root")),
            show_step(MEMORY),
        ],
    }
}

fn seen(lab: &Lab, cell: &Cell, folder: &Path, initrd: &Path) -> Result<Seen, Error> {
    fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    let mut qemu = lab.start(cell, folder, initrd, None, Watch::Plain)?;
    let free = format!("e2e: show {MEMORY} MemFree:");
    let (mut lines, mut free_kib) = (BTreeSet::new(), None);
    loop {
        let wanted = ["e2e: done", "e2e: failed", &free, MEMORY, "e2e: "];
        let (which, line) = qemu.serial.wait_for_any(&wanted, PATIENCE)?;
        match which {
            0 => break,
            1 => return Err(Error::Proof(format!("the guest program says: {}", line.text))),
            2 => free_kib = line.text.split_whitespace().rev().nth(1).and_then(|n| n.parse().ok()),
            3 => {}
            _line => {
                // What could not be looked at would be equal.
                let failed = line.text.contains("e2e: ran ") && !line.text.ends_with(" exit=0");
                prove(!failed, || format!("the initrd's tools fail: {}", line.text))?;
                lines.extend(comparable(&line.text));
            }
        }
    }
    let free_kib = free_kib.ok_or_else(|| Error::Proof(format!("no {free:?}")))?;
    Ok(Seen { lines, free_kib })
}

/// The line without what two boots differ in anyway; `None` if that is all of it.
fn comparable(line: &str) -> Option<String> {
    // What is mounted there: its size and number of names change while the machine boots.
    let is_mounted = |directory| line.ends_with(&format!(":{directory}"));
    if ["/dev", "/proc", "/run", "/sys"].into_iter().any(is_mounted) {
        return None;
    }
    if !line.contains(MOUNTS) {
        return Some(line.to_owned());
    }
    // The kernel sizes file systems by the memory that is free when it mounts them.
    let is_size = |option: &&str| option.starts_with("size=") || option.starts_with("nr_inodes=");
    Some(line.split(',').filter(|option| !is_size(option)).collect::<Vec<_>>().join(","))
}

/// A reason not to load the capture kernel.
struct Obstacle {
    name: &'static str,
    /// For the first kernel's command line.
    append: &'static str,
    /// Whether the capture kernel in the initrd is damaged.
    damaged: bool,
    /// Whether memory is reserved for it.
    reserved: bool,
    /// What the kernel's log and the console must have.
    says: &'static [&'static str],
}

const OBSTACLES: [Obstacle; 3] = [
    Obstacle {
        name: "damaged",
        // Errors are shown all the same.
        append: "quiet",
        damaged: true,
        reserved: true,
        says: &["no capture kernel loaded: kexec ended with exit status: 255", "/kernel: "],
    },
    Obstacle {
        name: "no-crashkernel",
        append: "",
        damaged: false,
        reserved: false,
        says: &["no capture kernel loaded: kexec ended with exit status: 254", "crashkernel="],
    },
    Obstacle {
        name: "off",
        append: "kdump.early=off",
        damaged: false,
        reserved: true,
        says: &["no capture kernel loaded: kdump.early=off"],
    },
];

fn not_loaded(lab: &Lab, cell: &Cell) -> Result<Report, Error> {
    let folder = lab.fresh_folder(&cell.name)?;
    let base = base(lab, cell, &folder, None)?;
    let good = early_initrd(lab, cell, &base, &folder)?;
    let damaged = with_damaged_kernel(cell, &good, &folder)?;
    let script = Script { steps: vec![show_step(CRASH_LOADED)] };
    let disk = root_disk(lab, cell, &folder, &script)?;
    let mut evidence = Evidence::new();
    for obstacle in OBSTACLES {
        let folder = folder.join(obstacle.name);
        fs::create_dir_all(&folder)
            .map_err(|source| Error::File { path: folder.clone(), source })?;
        let mut cell = on_root(cell);
        cell.append = format!("{} {}", cell.append, obstacle.append);
        cell.crashkernel = cell.crashkernel.filter(|_| obstacle.reserved);
        let initrd = if obstacle.damaged { &damaged } else { &good };
        let mut qemu = lab.start(&cell, &folder, initrd, Some(&disk), Watch::Plain)?;
        for said in obstacle.says {
            // The kernel's log puts the time in brackets before it.
            let line = qemu.serial.wait_for(said, PATIENCE)?;
            prove(line.text.contains("] kdump: early: "), || {
                format!("{}: not in the kernel's log: {:?}", obstacle.name, line.text)
            })?;
        }
        let loaded = value(&mut qemu, &format!("e2e: show {CRASH_LOADED} "))?;
        prove(loaded == "0", || format!("{}: {CRASH_LOADED} is {loaded:?}", obstacle.name))?;
        let end = qemu.wait_end(PATIENCE)?;
        prove(end == End::PowerOff, || format!("{}: ended by {end:?}", obstacle.name))?;
        evidence.insert(obstacle.name.into(), json!("boots from its root and says why"));
    }
    remove(&disk.image)?;
    Ok(Report { phases: Vec::new(), evidence })
}

/// Debian's initrd; with `script`, the guest program in it runs that before anything else.
fn base(lab: &Lab, cell: &Cell, folder: &Path, script: Option<&Script>) -> Result<PathBuf, Error> {
    let debian = lab.debian_initrd(cell.arch, &cell.kernel)?;
    let Some(script) = script else { return Ok(debian) };
    let base = folder.join("base-initrd");
    let failed = |source| Error::File { path: base.clone(), source };
    let mut bytes = fs::read(&debian).map_err(failed)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let guest = lab.programs(cell.arch)?.guest;
    let mut archive = Initramfs::new();
    archive.file(EARLY_GUEST, 0o755, fs::read(&guest).map_err(failed)?);
    archive.file(SCRIPT, 0o644, script_bytes(script)?);
    let mut out = BufWriter::new(File::create(&base).map_err(failed)?);
    out.write_all(&bytes).map_err(failed)?;
    archive.write_to(&mut out).map_err(|error| failed(io::Error::other(error)))?;
    out.flush().map_err(failed)?;
    Ok(base)
}

fn early_initrd(lab: &Lab, cell: &Cell, base: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let initrd = folder.join("early-initrd");
    lab.early_initrd(cell, base, &initrd)?;
    Ok(initrd)
}

/// A copy of `initrd` whose capture kernel is one no more.
fn with_damaged_kernel(cell: &Cell, initrd: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
    };
    let kernel = read(&cell.second_kernel)?;
    let mut bytes = read(initrd)?;
    let start = &kernel[..4096];
    let at = bytes.windows(start.len()).rposition(|window| window == start);
    let at =
        at.ok_or_else(|| Error::Proof("the initrd does not have the capture kernel".into()))?;
    let headers = bad_input::headers(cell.arch);
    bytes[at..][headers].fill(0xff);
    let damaged = folder.join("damaged-initrd");
    fs::write(&damaged, bytes).map_err(|source| Error::File { path: damaged.clone(), source })?;
    Ok(damaged)
}

/// The cell with the disk as its root file system.
fn on_root(cell: &Cell) -> Cell {
    let append = format!("{} root={TARGET} ro", cell.append);
    Cell { append: append.trim_start().to_owned(), ..cell.clone() }
}

/// A disk with a root file system, whose /sbin/init runs `script`, and room for a dump.
fn root_disk(lab: &Lab, cell: &Cell, folder: &Path, script: &Script) -> Result<Disk, Error> {
    let root = folder.join("root");
    let failed = |source| Error::File { path: root.clone(), source };
    for directory in ["dev", "e2e", "proc", "run", "sbin", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory)).map_err(failed)?;
    }
    fs::copy(lab.programs(cell.arch)?.guest, root.join("sbin/init")).map_err(failed)?;
    fs::write(root.join(SCRIPT.trim_start_matches('/')), script_bytes(script)?).map_err(failed)?;
    Ok(Disk::with_files(&folder.join("disk.img"), cell.memory + 256, &root)?)
}

fn script_bytes(script: &Script) -> Result<Vec<u8>, Error> {
    Ok(serde_json::to_vec(script)
        .map_err(|error| crate::lab::Error::from(first_boot::Error::from(error)))?)
}
