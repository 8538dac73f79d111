//! What each step of the script does.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e_guest::{PREFIX, Step, TRIGGER_MODULE, Trigger, pattern};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::mount::{MountFlags, mount};
use rustix::param::page_size;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A step that could not be carried out.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: io::Error,
}

impl Error {
    /// `what` (a path, a program) could not be used.
    pub fn file(what: &str, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

/// Writes one line to the console, in one write so that the kernel's own lines come before or
/// after it.
pub fn say(text: &str) {
    let line = format!("{PREFIX}{text}\n");
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
        // Nobody else could be told.
        let _ = console.write_all(line.as_bytes());
    }
}

/// Carries out one step.
pub fn run(step: &Step) -> Result<(), Error> {
    match step {
        Step::Nonce { text } => write("/dev/kmsg", &format!("{PREFIX}nonce {text}\n")),
        Step::Pattern { seed } => place_pattern(*seed),
        Step::Show { path } => show(path),
        Step::Symbol { name } => symbol(name),
        Step::MakeFile { path, size, mode } => make_file(path, *size, *mode),
        Step::Write { path, text } => write(path, text),
        Step::Mount { kind, on } => {
            mount(kind.as_str(), on, kind.as_str(), MountFlags::empty(), None)
                .map_err(|e| Error::file(on, e.into()))
        }
        Step::Damage { directory } => damage(directory),
        Step::LoadModule { path } => load_module(path, ""),
        Step::Run { name, argv, uid } => run_program(name, argv, *uid),
        Step::Settle => settle(),
        Step::Wait { name } => wait(name),
        Step::Panic { trigger, cpu } => panic(*trigger, *cpu),
    }
}

fn write(path: &str, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::file(path, e))
}

#[repr(align(4096))]
struct Page([u8; 4096]);

fn place_pattern(seed: u64) -> Result<(), Error> {
    // There is no swap, but a page that was never locked could still be migrated.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .map_err(|e| Error::file("mlockall", e.into()))?;
    let page: &'static Page = Box::leak(Box::new(Page(pattern(seed))));
    let address = physical_address(page.0.as_ptr().addr() as u64)?;
    say(&format!("pattern {address:#x}"));
    Ok(())
}

/// Kernel 6.1 Documentation/admin-guide/mm/pagemap.rst: bits 0-54 of an entry are the frame.
fn physical_address(virtual_address: u64) -> Result<u64, Error> {
    let path = "/proc/self/pagemap";
    let page_size = page_size() as u64;
    let mut entry = [0; 8];
    let read = || {
        let mut pagemap = File::open(path)?;
        pagemap.seek(SeekFrom::Start(virtual_address / page_size * 8))?;
        pagemap.read_exact(&mut entry)
    };
    let mut read = read;
    read().map_err(|e| Error::file(path, e))?;
    let frame = u64::from_ne_bytes(entry) & ((1 << 55) - 1);
    Ok(frame * page_size + virtual_address % page_size)
}

fn show(path: &str) -> Result<(), Error> {
    let text = fs::read(path).map_err(|e| Error::file(path, e))?;
    for line in String::from_utf8_lossy(&text).lines() {
        say(&format!("show {path} {line}"));
    }
    Ok(())
}

fn symbol(name: &str) -> Result<(), Error> {
    let path = "/proc/kallsyms";
    let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let address = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        (words.nth(1) == Some(name)).then_some(address)
    });
    let address = address.ok_or_else(|| Error::file(name, io::ErrorKind::NotFound.into()))?;
    say(&format!("symbol {name} 0x{address}"));
    Ok(())
}

fn make_file(path: &str, size: u64, mode: u32) -> Result<(), Error> {
    let make = || {
        let file = File::create(path)?;
        file.set_len(size)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    };
    make().map_err(|e| Error::file(path, e))
}

fn damage(directory: &str) -> Result<(), Error> {
    let damage = || {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let mut bytes = fs::read(&path)?;
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0xff;
            }
            fs::write(&path, bytes)?;
        }
        Ok(())
    };
    damage().map_err(|e| Error::file(directory, e))
}

fn load_module(path: &str, parameters: &str) -> Result<(), Error> {
    let file = File::open(path).map_err(|e| Error::file(path, e))?;
    let parameters =
        CString::new(parameters).map_err(|e| Error::file(parameters, io::Error::other(e)))?;
    rustix::system::finit_module(&file, &parameters, 0).map_err(|e| Error::file(path, e.into()))
}

fn run_program(name: &str, argv: &[String], uid: u32) -> Result<(), Error> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Error::file(name, io::Error::other("no program named")));
    };
    let (reader, writer) = io::pipe().map_err(|e| Error::file("pipe", e))?;
    let writer_too = writer.try_clone().map_err(|e| Error::file("pipe", e))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(writer_too);
    if uid != 0 {
        command.gid(uid).uid(uid);
    }
    say(&format!("run {name}"));
    let mut child = command.spawn().map_err(|e| Error::file(program, e))?;
    // Our copies of the pipe's writing end must go, or its reading end never ends.
    drop(command);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|e| Error::file(program, e))?;
        say(&format!("out {}", String::from_utf8_lossy(&line).trim_end()));
    }
    let status = child.wait().map_err(|e| Error::file(program, e))?;
    match status.code() {
        Some(code) => say(&format!("ran {name} exit={code}")),
        None => say(&format!("ran {name} {status}")),
    }
    Ok(())
}

/// How long the CPUs have to have had nothing to do.
const SETTLED: Duration = Duration::from_millis(500);
/// How often to look: no kernel takes longer than this many times [`SETTLED`].
const TURNS: usize = 60;

fn settle() -> Result<(), Error> {
    for _ in 0..TURNS {
        let before = busy_ticks()?;
        std::thread::sleep(SETTLED);
        // One tick may have found this program itself.
        if busy_ticks()?.saturating_sub(before) <= 1 {
            break;
        }
    }
    say("settled");
    Ok(())
}

/// Ticks in which all CPUs together did not idle (kernel 6.1 Documentation/filesystems/proc.rst,
/// "Miscellaneous kernel statistics in /proc/stat": the fourth and fifth number are idle and iowait).
fn busy_ticks() -> Result<u64, Error> {
    let path = "/proc/stat";
    let text = fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks = all.enumerate().filter(|(index, _)| ![3, 4].contains(index));
    Ok(ticks.filter_map(|(_, number)| number.parse::<u64>().ok()).sum())
}

fn wait(name: &str) -> Result<(), Error> {
    let console = File::open("/dev/console").map_err(|e| Error::file("/dev/console", e))?;
    say(&format!("waiting {name}"));
    let mut answer = String::new();
    BufReader::new(console).read_line(&mut answer).map_err(|e| Error::file("/dev/console", e))?;
    Ok(())
}

fn panic(trigger: Trigger, cpu: usize) -> Result<(), Error> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).map_err(|e| Error::file("sched_setaffinity", e.into()))?;
    match trigger {
        Trigger::Sysrq => {
            say(&format!("panic sysrq cpu={cpu}"));
            write("/proc/sysrq-trigger", "c")
        }
        Trigger::InitExit => {
            say(&format!("panic init-exit cpu={cpu}"));
            std::process::exit(1)
        }
        Trigger::Nmi => {
            write("/proc/sys/kernel/unknown_nmi_panic", "1")?;
            say(&format!("panic nmi cpu={cpu}"));
            loop {
                std::thread::park();
            }
        }
        Trigger::Oom => {
            write("/proc/sys/vm/panic_on_oom", "2")?;
            say(&format!("panic oom cpu={cpu}"));
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
            }
        }
        Trigger::Module(trigger) => {
            for (setting, value) in trigger.settings() {
                write(&format!("/proc/sys/kernel/{setting}"), value)?;
            }
            say(&format!("panic {} cpu={cpu}", trigger.name()));
            load_module(TRIGGER_MODULE, &format!("how={}", trigger.name()))
        }
    }
}
