//! What `kexec` says on the way, on standard error.

use std::{
    error::Error,
    fmt::Display,
    io::{Write, stderr},
};

/// Says what happens, as much of it as was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// `-d`
    debug: bool,
}

impl Report {
    /// With `debug`, decisions are said as well.
    pub fn new(debug: bool) -> Self {
        Self { debug }
    }

    /// Whether decisions are said.
    pub fn is_debug(&self) -> bool {
        self.debug
    }

    /// Something was decided; with `-d` the user reads what and why.
    pub fn decision(&self, text: impl Display) {
        if self.debug {
            self.line(text);
        }
    }

    /// Something is not as the user may think.
    pub fn warning(&self, text: impl Display) {
        self.line(format_args!("warning: {text}"));
    }

    /// Something failed that is no reason to stop.
    pub fn warning_of(&self, error: &dyn Error) {
        self.warning(chain(error));
    }

    /// Why it ends: the message with its causes in one line, and what to do.
    pub fn error(&self, error: &dyn Error, hint: Option<String>) {
        self.line(chain(error));
        if let Some(hint) = hint {
            self.line(format_args!("hint: {hint}"));
        }
    }

    fn line(&self, text: impl Display) {
        // Nobody may be left to read it; that changes nothing in what has to be done.
        let _ = writeln!(stderr(), "kexec: {text}");
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}
