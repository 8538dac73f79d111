//! The trace file: guest lines, each with the time of its first byte.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::sync::Mutex;
use std::time::Instant;

/// Collects bytes into lines and writes each finished line.
pub struct Trace {
    started: Instant,
    open: Mutex<Line>,
    file: File,
}

/// The line that is being sent.
#[derive(Default)]
struct Line {
    instructions: u64,
    nanoseconds: u128,
    text: Vec<u8>,
}

impl Trace {
    /// A trace that goes to a new file at `path`.
    pub fn create(path: &str) -> io::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            open: Mutex::new(Line::default()),
            file: File::create(path)?,
        })
    }

    /// The guest sent `byte`; `count` says how many instructions it has executed.
    pub fn byte(&self, byte: u8, count: impl Fn() -> u64) {
        let Ok(mut line) = self.open.lock() else { return };
        match byte {
            b'\n' => self.write(mem::take(&mut line)),
            b'\r' | 0 => {}
            byte => {
                if line.text.is_empty() {
                    line.instructions = count();
                    line.nanoseconds = self.started.elapsed().as_nanos();
                }
                line.text.push(byte);
            }
        }
    }

    /// The guest has ended after `instructions`.
    pub fn end(&self, instructions: u64) {
        let Ok(mut line) = self.open.lock() else { return };
        self.write(mem::take(&mut line));
        self.write(Line {
            instructions,
            nanoseconds: self.started.elapsed().as_nanos(),
            text: b"[end]".to_vec(),
        });
    }

    fn write(&self, line: Line) {
        if line.text.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&line.text);
        let written = writeln!(&self.file, "{} {} {text}", line.instructions, line.nanoseconds);
        if let Err(error) = written {
            eprintln!("e2e-plugin: trace: {error}");
        }
    }
}
