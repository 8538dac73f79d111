//! The capture kernel's command line, made from the running kernel's: consoles and quirks of the
//! machine are the same, what the first kernel does with its memory and CPUs is not.
//!
//! The parameters are those of kernel 6.1 Documentation/admin-guide/kernel-parameters.txt.

use purgatorio::plan::Target;
use purgatorio::plan::command_line::{append, reuse, words};

/// Parameters that do not belong on a capture kernel's command line, as the kernel writes them:
/// with underscores.
const NOT_FOR_CAPTURE: &[&str] = &[
    // What a boot loader read, and where the dead kernel lies: the loader says that itself.
    "initrd",
    "elfcorehdr",
    "fadump",
    // The dead kernel's memory: addresses and amounts that the reserved memory does not have.
    "mem",
    "memmap",
    "kernelcore",
    "movablecore",
    "hugepages",
    "hugepagesz",
    "default_hugepagesz",
    "hugetlb_cma",
    "cma",
    "swiotlb",
    "log_buf_len",
    "page_owner",
    "page_poison",
    "slub_debug",
    "slab_debug",
    "debug_pagealloc",
    "retain_initrd",
    // Its CPUs.
    "nr_cpus",
    "maxcpus",
    "possible_cpus",
    "isolcpus",
    "nohz_full",
    "rcu_nocbs",
    "irqaffinity",
    // When it is to panic: a capture that goes on after a warning saves more.
    "panic",
    "panic_on_warn",
    "panic_on_oops",
    "hung_task_panic",
    "softlockup_panic",
    "nmi_watchdog",
    "crash_kexec_post_notifiers",
    // Its user space, and what it is not to print.
    "init",
    "rdinit",
    "quiet",
    "splash",
    "rhgb",
    // Whether a capture kernel is loaded early.
    "kdump.early",
];

/// Settings that user space would make with sysctl(8): they are the first system's.
const SYSCTL: &str = "sysctl.";

/// How many CPUs come up. One is enough, and a PC's boot CPU must not be started twice.
const CPUS: &str = if cfg!(target_arch = "powerpc64") {
    // The CPU that panicked may have any number, which nr_cpus= would exclude.
    "maxcpus=1"
} else {
    "nr_cpus=1"
};

/// What every capture kernel is told: devices still run, and a panic must not stop the machine.
/// Accounting of memory to groups takes memory, and there are no groups.
const ADDED: &str = "reset_devices panic=10 cgroup_disable=memory";

/// The command line of a capture kernel on a machine whose kernel runs with `running`
/// (/proc/cmdline), with the words of `more` at the end, where they win.
///
/// The words behind a bare `--` are the first system's `init`'s and are left out.
pub fn capture_command_line(running: &str, more: &str) -> String {
    let reused = reuse(running, Target::Crash);
    let parameters = words(&reused).take_while(|word| *word != "--");
    let kept: Vec<&str> = parameters.filter(|word| belongs_to_capture(word)).collect();
    let own = format!("{CPUS} {ADDED}");
    append(&append(&kept.join(" "), &own), more.trim())
}

fn belongs_to_capture(word: &str) -> bool {
    // The kernel takes quotes around the whole word, and does not tell `-` from `_` in names.
    let word = word.trim_start_matches('"');
    let name = word.split('=').next().unwrap_or(word).replace('-', "_");
    let name = name.trim_end_matches('"');
    !NOT_FOR_CAPTURE.contains(&name) && !name.starts_with(SYSCTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_and_quirks_stay_and_memory_and_cpus_go() {
        let running = "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro console=tty0 \
                       console=ttyS0,115200n8 crashkernel=512M mem=4G hugepages=100 quiet \
                       panic=-1 pci=nomsi nr_cpus=64 sysctl.vm.panic_on_oom=1";
        assert_eq!(
            capture_command_line(running, ""),
            format!(
                "root=/dev/vda1 ro console=tty0 console=ttyS0,115200n8 pci=nomsi {CPUS} {ADDED}"
            )
        );
    }

    #[test]
    fn names_are_compared_as_the_kernel_does() {
        let running = r#""log-buf-len=16M" log-buf-len=1 "quiet" rdinit=/bin/sh x="mem=1 quiet""#;
        assert_eq!(capture_command_line(running, ""), format!(r#"x="mem=1 quiet" {CPUS} {ADDED}"#));
    }

    #[test]
    fn look_alikes_stay() {
        let running = "memory=1 initcall_debug root=quiet earlyprintk=ttyS0,keep";
        assert_eq!(capture_command_line(running, ""), format!("{running} {CPUS} {ADDED}"));
    }

    #[test]
    fn the_first_init_s_words_go_and_more_comes_last() {
        let line = capture_command_line("console=hvc0 -- single", " panic=5 kdump.action=halt ");
        assert_eq!(line, format!("console=hvc0 {CPUS} {ADDED} panic=5 kdump.action=halt"));
        assert_eq!(capture_command_line("", ""), format!("{CPUS} {ADDED}"));
    }
}
