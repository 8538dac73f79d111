//! Kernel command lines: words as the kernel splits them, and what kexec adds and leaves out.

use alloc::{format, string::String, vec::Vec};

use super::{PlanError, Target};

/// The running kernel's command line for the next kernel (`--reuse-cmdline`): without
/// `BOOT_IMAGE=`, which names the file that a boot loader read; a capture kernel also without
/// every `crashkernel=`, because it must not reserve memory of the little that it has.
pub fn reuse(running: &str, target: Target) -> String {
    let mut kept = Vec::new();
    let mut words = words(running);
    for word in words.by_ref() {
        if word == "--" {
            kept.push(word);
            break;
        }
        let drop = word.starts_with("BOOT_IMAGE=")
            || (target == Target::Crash && word.starts_with("crashkernel="));
        if !drop {
            kept.push(word);
        }
    }
    // What follows "--" is init's.
    kept.extend(words);
    kept.join(" ")
}

/// `line` with the running kernel's `root=`, if it has none itself.
pub fn inherit_root(line: &str, running: &str) -> String {
    let root = |line| words(line).take_while(|word| *word != "--").find(|w| w.starts_with("root="));
    match (root(line), root(running)) {
        (None, Some(root)) => add_parameter(line, root),
        (Some(_), _) | (None, None) => line.into(),
    }
}

/// `line` with `more` behind it, separated by one space. A quote that `line` leaves open would make
/// `more` a part of its last word, so it is closed.
pub fn append(line: &str, more: &str) -> String {
    let is_open = line.matches('"').count() % 2 == 1;
    match (line.is_empty(), more.is_empty()) {
        (true, _) => more.into(),
        (_, true) => line.into(),
        (false, false) if is_open => format!("{line}\" {more}"),
        (false, false) => format!("{line} {more}"),
    }
}

/// Adds a kernel parameter at the end, but before a bare `--`, behind which the kernel gives
/// everything to init.
pub fn add_parameter(line: &str, parameter: &str) -> String {
    let end_of_parameters = words(line)
        .find(|word| *word == "--")
        // A word is a part of `line`: the difference of their addresses is its offset.
        .map(|word| word.as_ptr().addr() - line.as_ptr().addr());
    match end_of_parameters {
        Some(offset) => {
            let (parameters, init) = line.split_at(offset);
            append(&append(parameters.trim_end(), parameter), init)
        }
        None => append(line, parameter),
    }
}

/// Refuses what the kernel would not see: more than the `limit` bytes that it takes without the
/// final NUL, or anything behind a NUL.
pub fn check(line: &str, limit: u64) -> Result<(), PlanError> {
    if let Some(offset) = line.find('\0') {
        return Err(PlanError::CommandLineNul { offset });
    }
    let length = line.len() as u64;
    if length > limit {
        return Err(PlanError::CommandLineTooLong { length, limit });
    }
    Ok(())
}

/// The words of a command line, split at white space outside double quotes, as the kernel does
/// it (kernel 6.1 lib/cmdline.c, `next_arg`). Quotes stay in the words.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    line.split(move |c: char| {
        if c == '"' {
            in_quotes = !in_quotes;
        }
        !in_quotes && is_space(c)
    })
    .filter(|word| !word.is_empty())
}

/// ASCII white space of the kernel's `isspace`. (Its 0xa0 is a part of many UTF-8 sequences;
/// splitting there would break words that the kernel only stores.)
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        let line = r#"  a="b c"  dyndbg="file x +p; y" quiet	"one word" "#;
        let expected = [r#"a="b c""#, r#"dyndbg="file x +p; y""#, "quiet", r#""one word""#];
        assert_eq!(words(line).collect::<Vec<_>>(), expected);
        assert_eq!(
            words(r#"a "open to the end"#).collect::<Vec<_>>(),
            ["a", r#""open to the end"#]
        );
    }

    #[test]
    fn reuse_leaves_out_what_belongs_to_this_boot() {
        let running =
            r#"BOOT_IMAGE=/vmlinuz root=/dev/vda1 crashkernel=1G ro crashkernel=64M,low x="a b""#;
        assert_eq!(reuse(running, Target::Crash), r#"root=/dev/vda1 ro x="a b""#);
        let for_reboot = r#"root=/dev/vda1 crashkernel=1G ro crashkernel=64M,low x="a b""#;
        assert_eq!(reuse(running, Target::Reboot), for_reboot);
    }

    #[test]
    fn reuse_keeps_look_alikes_and_inits_words() {
        let running = r#"nocrashkernel=1 q="crashkernel=1 BOOT_IMAGE=x" -- crashkernel=2 single"#;
        assert_eq!(reuse(running, Target::Crash), running);
    }

    #[test]
    fn the_running_kernel_s_root_fills_a_gap() {
        let running = "quiet nfsroot=a root=/dev/sda2 ro -- root=init";
        assert_eq!(inherit_root("console=hvc0", running), "console=hvc0 root=/dev/sda2");
        assert_eq!(inherit_root("root=/dev/vda x", running), "root=/dev/vda x");
        assert_eq!(inherit_root("nfsroot=b", running), "nfsroot=b root=/dev/sda2");
        assert_eq!(inherit_root("console=hvc0", "nfsroot=a"), "console=hvc0");
    }

    #[test]
    fn an_open_quote_does_not_swallow_what_is_added() {
        let line = add_parameter("root=LABEL=\"my root", "elfcorehdr=0x1000");
        assert_eq!(line, "root=LABEL=\"my root\" elfcorehdr=0x1000");
        assert_eq!(add_parameter("a=\"b c -- d", "x"), "a=\"b c -- d\" x");
    }

    #[test]
    fn parameters_go_before_the_words_of_init() {
        assert_eq!(add_parameter("", "a=1"), "a=1");
        assert_eq!(add_parameter("root=x", "a=1"), "root=x a=1");
        assert_eq!(add_parameter("root=x -- single", "a=1"), "root=x a=1 -- single");
        assert_eq!(add_parameter("-- single", "a=1"), "a=1 -- single");
        assert_eq!(add_parameter(r#"x="a -- b""#, "a=1"), r#"x="a -- b" a=1"#);
    }
}
