//! Lines on the console, each with the prefix by which operators and tests find them.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// Writes `kdump: message`. A console that cannot be written must not stop the capture.
pub fn say(message: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "kdump: {message}");
    let _ = out.flush();
}

/// An error with all its causes on one line: `what: why: why`.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
