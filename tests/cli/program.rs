//! Runs the built `kexec`, and only in ways that cannot touch the machine.

use std::{
    ffi::OsStr,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Actions that only read, or only print.
const HARMLESS: &[&str] =
    &["--dry-run", "--help", "-h", "--version", "-v", "-S", "--print-ckr-size"];

/// What a run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Self {
        let run = Self {
            code: output.status.code().unwrap_or_else(|| {
                panic!("killed by signal {:?}: {output:?}", output.status.signal())
            }),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        };
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        run
    }

    /// Checks the exit status, and that every part is in the message.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.starts_with("kexec: "), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in {self:?}");
        }
    }

    /// Checks that it succeeded without a word on standard error.
    #[track_caller]
    pub fn assert_succeeds(&self) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        self.assert_succeeds();
        serde_json::from_str(&self.stdout).expect("standard output is JSON")
    }
}

/// Runs `kexec`.
pub fn kexec<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    Run::new(command(Path::new(env!("CARGO_BIN_EXE_kexec")), arguments).output().unwrap())
}

/// Runs `kexec` from `directory`, which must be open to all, as a user without any privilege.
pub fn kexec_as_nobody<S: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Run {
    const NOBODY: u32 = 65534;
    // The build's own folder may be closed to others. Another process copies: a file that this one
    // has open for writing is inherited by what other tests start, and cannot be run until they
    // close it (ETXTBSY).
    let program = directory.join("kexec");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_kexec")).arg(&program).status();
    assert!(copied.unwrap().success(), "cp");
    let mut command = command(&program, arguments);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Run::new(command.output().unwrap())
}

/// The command itself, for tests that connect it to something.
pub fn command<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    let harmless = |argument: &OsStr| HARMLESS.iter().any(|safe| argument == *safe);
    assert!(command.get_args().any(harmless), "the tests must not load or start a kernel");
    command
}

/// A captured machine: BIOS, 1 GiB of memory, crashkernel=256M.
pub fn debian_sysroot() -> PathBuf {
    fixture("sysroot-x86_64-debian-6.1")
}

/// Any captured machine.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
