//! The capture kernel's command line, made from the running kernel's: what is dropped, kept and
//! added, and why.

use std::fmt;

use purgatorio::plan::command_line::words;

use crate::settings;

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

const ROOT: &str = "the capture kernel has no root file system but its initramfs";
const MEMORY: &str = "it would take from the little memory that the capture kernel has";
const THIS_BOOT: &str = "it belongs to the boot of the running kernel";
const CPUS: &str = "it is for the CPUs that the capture kernel does not start";
const SILENT: &str = "it would hide what the capture kernel says";
const INIT: &str = "it is for the init of the running system";

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
    ("mem", "the loader says which memory the capture kernel has"),
    ("memmap", "the loader says which memory the capture kernel has"),
    ("movablecore", "the loader says which memory the capture kernel has"),
    ("kernelcore", "the loader says which memory the capture kernel has"),
    ("elfcorehdr", "the loader says where the core's headers are"),
    ("fadump", "it is for the running kernel"),
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
    ("panic", "a panic of the capture kernel must end in a reboot, soon"),
    ("oops", "a panic of the capture kernel must end in a reboot, soon"),
    ("panic_on_warn", "a warning must not cost the dump"),
    ("panic_on_taint", "a warning must not cost the dump"),
    ("nmi_watchdog", "a slow disk must not cost the dump"),
    ("softlockup_panic", "a slow disk must not cost the dump"),
    ("hung_task_panic", "a slow disk must not cost the dump"),
];

/// What every capture kernel gets.
const ADDED: &[(&str, &str)] = &[
    ("reset_devices", "drivers reset devices that the dead kernel left running"),
    ("panic=10", "a panic of the capture kernel ends in a reboot"),
    ("cgroup_disable=memory", "control groups need memory for each page"),
    ("transparent_hugepage=never", "memory is taken in small pages"),
];

/// What one gets on x86: one CPU is enough to write a dump, and others cost memory.
const ADDED_X86: &[(&str, &str)] = &[
    ("nr_cpus=1", "memory for one CPU; the one that crashed may not be number 0"),
    ("irqpoll", "interrupts that the dead kernel left pending find their handlers"),
    ("mce=off", "a machine check during the dump would lose it"),
];

/// What one gets elsewhere: `nr_cpus=1` fails there if the CPU that crashed is not number 0
/// (arch/powerpc before Linux 6.10).
const ADDED_ELSEWHERE: &[(&str, &str)] = &[("maxcpus=1", "one CPU writes the dump")];

/// Makes the command line from the running kernel's, for a machine whose `uname -m` says
/// `architecture`.
pub fn make(running: &str, architecture: &str, settings: &settings::Kernel) -> CommandLine {
    if let Some(line) = &settings.command_line {
        let given = Decision::Added("kernel.command_line of the settings is all of it");
        return CommandLine { words: vec![(line.clone(), given)] };
    }
    let mut decided: Vec<(String, Decision)> = words(running)
        // What follows is init's.
        .take_while(|word| *word != "--")
        .map(|word| (word.to_owned(), decide(word, &settings.remove)))
        .collect();
    let of_machine = match architecture {
        "x86_64" | "i386" | "i486" | "i586" | "i686" => ADDED_X86,
        _other => ADDED_ELSEWHERE,
    };
    let added = ADDED.iter().chain(of_machine).filter(|(word, _)| !is_in(word, &settings.remove));
    decided.extend(added.map(|(word, why)| ((*word).to_owned(), Decision::Added(why))));
    let asked = Decision::Added("kernel.append of the settings");
    decided.extend(settings.append.iter().map(|word| (word.clone(), asked.clone())));
    CommandLine { words: decided }
}

fn decide(word: &str, removed: &[String]) -> Decision {
    if is_in(word, removed) {
        return Decision::Dropped("kernel.remove of the settings");
    }
    let dropped = DROPPED.iter().find(|(pattern, _)| matches(name(word), pattern));
    dropped.map_or(Decision::Kept, |(_, why)| Decision::Dropped(why))
}

/// Whether the list has the word, or the name of its parameter.
fn is_in(word: &str, list: &[String]) -> bool {
    list.iter().any(|listed| listed == word || matches(name(word), listed))
}

fn name(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
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

    fn line(running: &str, architecture: &str) -> String {
        make(running, architecture, &settings::Kernel::default()).to_string()
    }

    #[test]
    fn consoles_stay_and_what_is_for_the_running_system_goes() {
        let running = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro crashkernel=1G crashkernel=64M,low \
                       console=tty0 console=ttyS0,115200 quiet splash resume=/dev/sda2 \
                       hugepages=512 default_hugepagesz=1G rd.luks.uuid=2 intel_iommu=on \
                       dyndbg=\"file x +p; y\" log-buf-len=16M -- single";
        assert_eq!(
            line(running, "x86_64"),
            "console=tty0 console=ttyS0,115200 intel_iommu=on dyndbg=\"file x +p; y\" \
             reset_devices panic=10 cgroup_disable=memory transparent_hugepage=never nr_cpus=1 \
             irqpoll mce=off"
        );
    }

    #[test]
    fn machines_get_what_they_need() {
        assert!(line("", "i686").contains("nr_cpus=1 irqpoll"));
        let power = line("console=hvc0 nr_cpus=64", "ppc64le");
        assert!(power.starts_with("console=hvc0 reset_devices") && power.ends_with("maxcpus=1"));
        assert!(!power.contains("irqpoll") && !power.contains("nr_cpus"));
    }

    #[test]
    fn look_alikes_stay() {
        for word in ["rootkit=1", "memtest=1", "rod", "panic_print=3", "initcall_debug"] {
            assert!(line(word, "x86_64").starts_with(word), "{word}");
        }
    }

    #[test]
    fn settings_come_last_and_have_the_last_word() {
        let settings = settings::Kernel {
            remove: vec!["console=tty0".into(), "irqpoll".into(), "debug".into()],
            append: vec!["nr_cpus=4".into(), "x=\"a b\"".into()],
            ..settings::Kernel::default()
        };
        let made = make("console=tty0 console=ttyS0 debug", "x86_64", &settings);
        let text = made.to_string();
        assert!(text.starts_with("console=ttyS0 reset_devices"), "{text}");
        assert!(text.ends_with("mce=off nr_cpus=4 x=\"a b\"") && !text.contains("irqpoll"));
        assert!(made.words.iter().any(|(word, decision)| word == "console=tty0"
            && *decision == Decision::Dropped("kernel.remove of the settings")));
        let whole = settings::Kernel { command_line: Some("a b".into()), ..settings };
        assert_eq!(make("console=ttyS0", "x86_64", &whole).to_string(), "a b");
    }
}
