//! The capture kernel's command line, made from the running kernel's: consoles and quirks of the
//! machine are the same, what the first kernel does with its memory and CPUs is not. Every decision
//! has its reason.
//!
//! The parameters are those of kernel 6.1 Documentation/admin-guide/kernel-parameters.txt.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use purgatorio::facts::Arch;
use purgatorio::plan::command_line::{add_parameter, words};

use crate::config::loader_word;
use crate::supervisor::wait_or_kill;

/// How long a loader may take to say which it is.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a line with the loader's word may be, in bytes: a kernel takes 2047 (`COMMAND_LINE_SIZE`,
/// kernel 6.1 arch/x86/include/asm/setup.h and arch/powerpc/include/uapi/asm/setup.h), and the loader
/// adds words of its own.
const ROOM: usize = 1536;

/// What is decided about one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Stays.
    Kept,
    /// Is left out, because.
    Dropped(&'static str),
    /// Is new, because.
    Added(&'static str),
}

/// A command line with the reasons for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Every word of the running kernel's line, then what is new.
    pub words: Vec<(String, Decision)>,
}

impl fmt::Display for CommandLine {
    /// The line as the kernel gets it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.words.iter().filter(|(_, decision)| match decision {
            Decision::Kept | Decision::Added(_) => true,
            Decision::Dropped(_) => false,
        });
        for (index, (word, _)) in kept.enumerate() {
            write!(f, "{}{word}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

const LOADER: &str = "the loader says which memory the capture kernel has";
const ROOT: &str = "the capture kernel has no root file system but its initramfs";
const MEMORY: &str = "it would take from the little memory that the capture kernel has";
const THIS_BOOT: &str = "it belongs to the boot of the running kernel";
const CPUS: &str = "it is for the CPUs that the capture kernel does not start";
const SILENT: &str = "it would hide what the capture kernel says";
const INIT: &str = "it is for the init of the running system";

const WARNING: &str = "a warning must not cost the dump";
const SLOW: &str = "a slow disk must not cost the dump";
const RESTART: &str = "a panic of the capture kernel must end in a reboot, soon";

/// Parameters that the capture kernel must not have; with a final `*`, all that begin so. `-` and `_`
/// are the same in them, as they are for the kernel.
const DROPPED: &[(&str, &str)] = &[
    ("crashkernel", MEMORY),
    ("hugepages", MEMORY),
    ("hugepagesz", MEMORY),
    ("default_hugepagesz", MEMORY),
    ("hugetlb_cma", MEMORY),
    ("hugetlb_free_vmemmap", MEMORY),
    ("cma", MEMORY),
    ("kvm_cma_resv_ratio", MEMORY),
    ("swiotlb", MEMORY),
    ("log_buf_len", MEMORY),
    ("trace_buf_size", MEMORY),
    ("ftrace", MEMORY),
    ("trace_event", MEMORY),
    ("slub_debug", MEMORY),
    ("slab_debug", MEMORY),
    ("page_owner", MEMORY),
    ("kfence.*", MEMORY),
    ("kmemleak", MEMORY),
    ("mem", LOADER),
    ("memmap", LOADER),
    ("movablecore", LOADER),
    ("kernelcore", LOADER),
    ("elfcorehdr", LOADER),
    ("fadump", "it is for the running kernel"),
    ("retain_initrd", MEMORY),
    ("debug_pagealloc", MEMORY),
    ("page_poison", MEMORY),
    ("BOOT_IMAGE", THIS_BOOT),
    ("initrd", THIS_BOOT),
    ("resume", THIS_BOOT),
    ("resume_offset", THIS_BOOT),
    ("noresume", THIS_BOOT),
    ("root", ROOT),
    ("rootflags", ROOT),
    ("rootfstype", ROOT),
    ("rootdelay", ROOT),
    ("rootwait", ROOT),
    ("nfsroot", ROOT),
    ("nfsrootdebug", ROOT),
    ("ro", ROOT),
    ("rw", ROOT),
    ("ip", "the capture image sets the network up itself"),
    ("init", INIT),
    ("rdinit", INIT),
    ("systemd.*", INIT),
    ("rd.*", INIT),
    ("luks.*", INIT),
    ("sysctl.*", INIT),
    ("kdump.early", INIT),
    ("splash", INIT),
    ("single", INIT),
    ("rescue", INIT),
    ("emergency", INIT),
    ("quiet", SILENT),
    ("loglevel", SILENT),
    ("plymouth.*", SILENT),
    ("rhgb", SILENT),
    ("maxcpus", CPUS),
    ("nr_cpus", CPUS),
    ("nosmp", CPUS),
    ("possible_cpus", CPUS),
    ("isolcpus", CPUS),
    ("nohz_full", CPUS),
    ("rcu_nocbs", CPUS),
    ("rcu_nocb_poll", CPUS),
    ("irqaffinity", CPUS),
    ("numa_balancing", CPUS),
    ("panic", RESTART),
    ("oops", RESTART),
    ("panic_on_warn", WARNING),
    ("panic_on_taint", WARNING),
    ("panic_on_oops", WARNING),
    ("nmi_watchdog", SLOW),
    ("softlockup_panic", SLOW),
    ("hung_task_panic", SLOW),
    ("crash_kexec_post_notifiers", "nothing is loaded for a panic of the capture kernel"),
];

/// What every capture kernel gets.
const ADDED: &[(&str, &str)] = &[
    ("reset_devices", "drivers reset devices that the dead kernel left running"),
    ("panic=10", "a panic of the capture kernel ends in a reboot"),
    (
        "cgroup_disable=memory",
        "accounting of memory to groups takes memory, and there are no groups",
    ),
];

/// What it gets on a PC. One CPU is enough to write a dump, and others cost memory; a PC's boot CPU
/// must not be started twice.
const OF_PCS: &[(&str, &str)] = &[
    ("nr_cpus=1", "one CPU writes the dump: the one that panicked"),
    ("irqpoll", "interrupts that the dead kernel left pending find their handlers"),
];

/// What it gets on POWER, where nr_cpus= would exclude that CPU.
const OF_POWER: &[(&str, &str)] =
    &[("maxcpus=1", "one CPU writes the dump: the one that panicked, whatever its number")];

fn of_machine(arch: Option<Arch>) -> &'static [(&'static str, &'static str)] {
    match arch {
        Some(Arch::X86_64 | Arch::I386) => OF_PCS,
        Some(Arch::Ppc64le | Arch::Ppc64) => OF_POWER,
        None => &[],
    }
}

/// The command line of a capture kernel on this machine, whose kernel runs with `running`
/// (/proc/cmdline), with the words of `more` at the end, where they win.
///
/// The words behind a bare `--` are the first system's `init`'s and are left out.
pub fn capture_command_line(running: &str, more: &str) -> String {
    let more: Vec<String> = words(more).map(str::to_owned).collect();
    CommandLine::make(Arch::of_program(), running, &[], &more).to_string()
}

/// `line` with the word that tells the capture kernel which program loads it: `kexec` is asked.
///
/// The word is only for the dump's manifest. If the program does not answer, or there is no room for
/// its answer, the line stays as it is.
pub fn with_loader(line: &str, kexec: &Path) -> String {
    let word = version(kexec).and_then(|version| loader_word(&version));
    let with_word = word.map(|word| add_parameter(line, &word));
    with_word.filter(|line| line.len() <= ROOM).unwrap_or_else(|| line.to_owned())
}

/// What a loader prints as its version.
fn version(kexec: &Path) -> Option<String> {
    // In the first kernel's initramfs there is no /dev/null.
    let mut asked = Command::new(kexec);
    asked.arg("--version").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = asked.spawn().ok()?;
    if !wait_or_kill(&mut child, ANSWER)?.success() {
        return None;
    }
    let mut said = String::new();
    child.stdout?.take(ROOM as u64).read_to_string(&mut said).ok()?;
    Some(said)
}

impl CommandLine {
    /// As [`capture_command_line`], for a machine of `arch`, with the reasons; `removed` are parameters that are left out too:
    /// by name (`quiet`), or as they are (`console=tty0`).
    pub fn make(arch: Option<Arch>, running: &str, removed: &[String], more: &[String]) -> Self {
        let parameters = words(running).take_while(|word| *word != "--");
        let decided = parameters.map(|word| (word.to_owned(), decide(word, removed)));
        let added = ADDED.iter().chain(of_machine(arch)).filter(|(word, _)| !is_in(word, removed));
        let added = added.map(|(word, why)| ((*word).to_owned(), Decision::Added(why)));
        let more = more.iter().map(|word| (word.clone(), Decision::Added(ASKED_FOR)));
        Self { words: decided.chain(added).chain(more).collect() }
    }
}

const ASKED_FOR: &str = "asked for";

fn decide(word: &str, removed: &[String]) -> Decision {
    if is_in(word, removed) {
        return Decision::Dropped(ASKED_FOR);
    }
    let dropped = DROPPED.iter().find(|(pattern, _)| matches(name(word), pattern));
    dropped.map_or(Decision::Kept, |(_, why)| Decision::Dropped(why))
}

/// Whether the list has the word, or the name of its parameter.
fn is_in(word: &str, list: &[String]) -> bool {
    list.iter().any(|listed| listed == word || matches(name(word), listed))
}

/// The kernel takes quotes around a whole word.
fn name(word: &str) -> &str {
    let word = word.trim_start_matches('"');
    word.split('=').next().unwrap_or(word).trim_end_matches('"')
}

fn matches(name: &str, pattern: &str) -> bool {
    let same = |c: char| if c == '-' { '_' } else { c };
    let mut name = name.chars().map(same);
    let (pattern, is_prefix) =
        pattern.strip_suffix('*').map_or((pattern, false), |prefix| (prefix, true));
    let all = pattern.chars().map(same).all(|c| name.next() == Some(c));
    all && (is_prefix || name.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every line ends with.
    fn own() -> String {
        capture_command_line("", "")
    }

    #[test]
    fn consoles_and_quirks_stay_and_what_is_for_the_running_system_goes() {
        let running = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro crashkernel=1G crashkernel=64M,low \
                       console=tty0 console=ttyS0,115200 quiet splash resume=/dev/sda2 \
                       hugepages=512 default_hugepagesz=1G rd.luks.uuid=2 intel_iommu=on \
                       dyndbg=\"file x +p; y\" log-buf-len=16M nr_cpus=64 mem=4G panic=-1 \
                       sysctl.vm.panic_on_oom=1 pci=nomsi";
        assert_eq!(
            capture_command_line(running, ""),
            format!(
                "console=tty0 console=ttyS0,115200 intel_iommu=on dyndbg=\"file x +p; y\" \
                 pci=nomsi {}",
                own()
            )
        );
    }

    #[test]
    fn every_capture_kernel_restarts_after_a_panic_and_has_one_cpu() {
        assert!(own().starts_with("reset_devices panic=10 "), "{}", own());
        assert!(own().contains("cpus=1"), "{}", own());
    }

    #[test]
    fn names_are_compared_as_the_kernel_does() {
        let running = r#""log-buf-len=16M" log-buf-len=1 "quiet" rdinit=/bin/sh x="mem=1 quiet""#;
        assert_eq!(capture_command_line(running, ""), format!(r#"x="mem=1 quiet" {}"#, own()));
    }

    #[test]
    fn look_alikes_stay() {
        let running = "rootkit=1 memory=1 rod panic_print=3 initcall_debug x=quiet \
                       earlyprintk=ttyS0,keep";
        assert_eq!(capture_command_line(running, ""), format!("{running} {}", own()));
    }

    #[test]
    fn the_first_inits_words_go_and_more_comes_last() {
        let line = capture_command_line("console=hvc0 -- single", " panic=5 kdump.action=halt ");
        assert_eq!(line, format!("console=hvc0 {} panic=5 kdump.action=halt", own()));
    }

    #[test]
    fn what_is_asked_for_goes_and_says_so() {
        let removed = ["console=tty0", "reset_devices", "debug"].map(str::to_owned);
        let made = CommandLine::make(
            Some(Arch::X86_64),
            "console=tty0 console=ttyS0 debug",
            &removed,
            &[],
        );
        let line = made.to_string();
        assert!(line.starts_with("console=ttyS0 panic=10") && !line.contains("reset"), "{line}");
        assert!(made.words.contains(&("console=tty0".into(), Decision::Dropped("asked for"))));
    }
}
