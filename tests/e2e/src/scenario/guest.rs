//! Talks with the guest program: what it prints for each step of its script.

use e2e_guest::Step;

use super::{Error, PATIENCE, prove};
use crate::qemu::Qemu;

/// What a command in the guest did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub output: Vec<String>,
}

/// The step that runs `argv` as root.
pub fn run_step(name: &str, argv: Vec<String>) -> Step {
    Step::Run { name: name.into(), argv, uid: 0 }
}

/// The step that prints a file.
pub fn show_step(path: &str) -> Step {
    Step::Show { path: path.into() }
}

/// Waits until the command `name` has run.
pub fn ran(qemu: &mut Qemu, name: &str) -> Result<Ran, Error> {
    qemu.serial.wait_for(&format!("e2e: run {name}"), PATIENCE)?;
    let mut output = Vec::new();
    let done = format!("e2e: ran {name} ");
    loop {
        let wanted = ["e2e: out ", &done, "e2e: failed: "];
        let (which, line) = qemu.serial.wait_for_any(&wanted, PATIENCE)?;
        let rest = after(&line.text, wanted[which]).to_owned();
        match which {
            0 => output.push(rest),
            1 => {
                let code = rest.strip_prefix("exit=").and_then(|code| code.parse().ok());
                return Ok(Ran { code, output });
            }
            _failed => return Err(Error::Proof(format!("the guest program failed: {rest}"))),
        }
    }
}

/// What the command `name` did, from the console's log of a machine that is no more.
pub fn ran_in(log: &str, name: &str) -> Result<Ran, Error> {
    let (begin, end) = (format!("e2e: run {name}"), format!("e2e: ran {name} exit="));
    let lines = log.lines().skip_while(|line| !line.ends_with(&begin));
    let mut output = Vec::new();
    for line in lines {
        if let Some((_, said)) = line.split_once("e2e: out ") {
            output.push(said.to_owned());
        } else if let Some((_, code)) = line.split_once(&end) {
            return Ok(Ran { code: code.trim().parse().ok(), output });
        }
    }
    Err(Error::Proof(format!("the log has no end of `{name}`")))
}

/// As [`ran`], and fails unless the command's exit code is `code`.
pub fn ran_with(qemu: &mut Qemu, name: &str, code: i32) -> Result<Ran, Error> {
    let ran = ran(qemu, name)?;
    prove(ran.code == Some(code), || {
        let output = ran.output.join("\n    ");
        format!("`{name}` exited with {:?} instead of {code}; it said:\n    {output}", ran.code)
    })?;
    Ok(ran)
}

/// Waits for a line with `prefix` and returns what follows it.
pub fn value(qemu: &mut Qemu, prefix: &str) -> Result<String, Error> {
    let line = qemu.serial.wait_for(prefix, PATIENCE)?;
    Ok(after(&line.text, prefix).trim().to_owned())
}

/// Waits until the guest waits, without letting it go on.
pub fn waits(qemu: &mut Qemu, name: &str) -> Result<(), Error> {
    qemu.serial.wait_for(&format!("e2e: waiting {name}"), PATIENCE)?;
    Ok(())
}

fn after<'a>(text: &'a str, prefix: &str) -> &'a str {
    text.split_once(prefix).map_or("", |(_, rest)| rest)
}
