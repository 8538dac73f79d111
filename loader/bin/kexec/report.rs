//! What `kexec` says on the way, on standard error.

use std::fmt::Display;

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

    fn line(&self, text: impl Display) {
        use std::io::Write;
        // Nobody may be left to read it; that changes nothing in what has to be done.
        let _ = writeln!(std::io::stderr(), "kexec: {text}");
    }
}
