//! Options that only print or answer, and how usage errors end.

use std::{fs, path::Path, process::Stdio};

use crate::program::{command, debian_sysroot, kexec};

#[test]
fn help_and_version_succeed() {
    for option in ["-h", "--help"] {
        let run = kexec([option]);
        let help = &run.assert_succeeds().stdout;
        for part in ["--load-panic", "--append", "--dry-run", "Exit status", "shutdown -r now"] {
            assert!(help.contains(part), "{part} is missing in {option}:\n{help}");
        }
    }
    for option in ["-v", "--version"] {
        assert!(kexec([option]).assert_succeeds().stdout.starts_with("kexec "));
    }
}

/// `--dry-run` is in each of them so that a mistake here cannot load anything.
#[test]
fn usage_errors_end_with_1() {
    let cases: &[(&[&str], &str)] = &[
        (&["--no-such-option"], "--no-such-option"),
        (&["k", "another"], "another"),
        (&["k", "--mem-min=zz"], "--mem-min"),
        (&["k", "--mem-min=0x2000", "--mem-max=0x1000"], "above --mem-max=0x1000"),
        (&["k", "--serial=ttyUSB0"], "ttyS0, ttyS1"),
        (&["k", "--arch=s390x"], "x86_64"),
        (&["k", "--type=beoboot-x86"], "bzImage"),
        (&["k", "--on-mismatch=panic"], "halt"),
        (&["k", "--entry-32bit", "--entry-mode=direct"], "cannot be used with"),
        (&["k", "--append"], "--append"),
        (&["k", "--real-mode"], "--real-mode is not supported yet"),
        (&["k", "--entry=1"], "--entry is not supported yet"),
        (&["-u"], "--unload and --dry-run cannot be combined"),
        (&["-e"], "--exec and --dry-run cannot be combined"),
        (&["-p", "-f", "k"], "--force and --load-panic cannot be combined"),
    ];
    for (arguments, message) in cases {
        kexec(["--dry-run"].iter().chain(*arguments)).assert_fails(1, &[message]);
    }
}

#[test]
fn a_load_needs_a_kernel() {
    kexec(["--dry-run", "-l"]).assert_fails(255, &["no kernel file was given", "hint: "]);
}

#[test]
fn status_is_silent_and_answers_by_the_exit_status() {
    let status = |directory: &Path, options: &[&str]| {
        let run = kexec(
            [Path::new("-S"), Path::new("--sysroot"), directory]
                .into_iter()
                .chain(options.iter().map(Path::new)),
        );
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
        run.code
    };
    let machine = tempfile::tempdir().unwrap();
    assert_eq!(status(machine.path(), &[]), 255, "no kexec in this kernel");

    let kernel = machine.path().join("sys/kernel");
    fs::create_dir_all(&kernel).unwrap();
    fs::write(kernel.join("kexec_loaded"), "0\n").unwrap();
    fs::write(kernel.join("kexec_crash_loaded"), "1\n").unwrap();
    assert_eq!(status(machine.path(), &[]), 1);
    assert_eq!(status(machine.path(), &["-p"]), 1);
    assert_eq!(status(machine.path(), &["-l"]), 0);

    // Kernel 6.19 has the files elsewhere, and they win.
    fs::create_dir_all(kernel.join("kexec")).unwrap();
    fs::write(kernel.join("kexec/crash_loaded"), "0\n").unwrap();
    assert_eq!(status(machine.path(), &[]), 0);
}

#[test]
fn the_crash_region_s_size_is_a_decimal_number() {
    let directory = debian_sysroot();
    let arguments = [Path::new("--print-ckr-size"), Path::new("--sysroot"), &directory];
    assert_eq!(kexec(arguments).assert_succeeds().stdout, "268435456\n");

    let nothing = tempfile::tempdir().unwrap();
    let arguments = [Path::new("--print-ckr-size"), Path::new("--sysroot"), nothing.path()];
    assert_eq!(kexec(arguments).assert_succeeds().stdout, "0\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_kexec"));
    for option in ["--help", "--version", "--print-ckr-size"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            command(program, [option]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{option}: {output:?}");
        assert!(output.stderr.is_empty(), "{option}: {output:?}");
    }
}

#[test]
fn options_without_effect_are_warned_about() {
    let run = kexec(["--print-ckr-size", "-x", "--initrd=i", "--format=json", "k"]);
    assert_eq!(run.code, 0, "{run:?}");
    for what in ["--no-ifdown", "--initrd", "--format", "a kernel file"] {
        let warning = format!("warning: {what} has no effect with --print-ckr-size");
        assert!(run.stderr.contains(&warning), "{run:?}");
    }
    assert_eq!(run.stderr.lines().count(), 4, "{run:?}");
}
