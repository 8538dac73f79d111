//! What the capture said, on the console and, once there is a target, in a file beside the dump.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::timeline;

/// Name of the file beside the dump.
pub const NAME: &str = "kdump.log";

/// A link to the file while the target is mounted: process 1 adds to it what the worker could not.
const LINK: &str = "/kdump.log";

/// Room that the file has from the beginning: "the disk is full" must fit on the full disk.
const RESERVED: u64 = 16 << 10;

/// Most of what is remembered, in bytes. Lines are few; a device that fails again and again must
/// not fill the memory.
const MOST: usize = 64 << 10;

/// The worker's lines.
#[derive(Debug, Default)]
pub struct Journal {
    text: String,
    file: Option<File>,
}

impl Journal {
    /// Says `line` on the console and in the file.
    ///
    /// On the console means: to the supervisor, which takes it as a sign of life. Neither is worth
    /// giving up the dump when it fails.
    pub fn say(&mut self, line: impl Display) {
        let _ = writeln!(io::stdout(), "{line}");
        self.note(line);
    }

    /// Adds `line` to the file only.
    pub fn note(&mut self, line: impl Display) {
        let line = dated(line);
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
        self.text.push_str(&line);
        if self.text.len() > MOST {
            // The newest tell how it ended.
            let half = self.text.len() - MOST / 2;
            let line_end = self.text.bytes().skip(half).position(|byte| byte == b'\n');
            self.text.drain(..line_end.map_or(half + MOST / 2, |at| half + at + 1));
        }
    }

    /// What was said so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Goes on in the new file at `path`, which gets what was said so far.
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        // Not every file system can; then the message may be lost on a full disk.
        let _ = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVED);
        file.write_all(self.text.as_bytes())?;
        self.file = Some(file);
        link(Path::new(LINK), path)
    }

    /// Lets go of the file, until it is on the disk.
    pub fn close(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        // Only if it was never made; then nobody finds it either.
        let _ = fs::remove_file(LINK);
        // What was reserved and not used.
        file.set_len(file.metadata()?.len())?;
        file.sync_all()
    }
}

/// Adds `line` to the file of a worker that ended without closing it.
pub fn add_after_worker(line: impl Display) -> io::Result<()> {
    let path: PathBuf = fs::read_link(LINK)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(dated(line).as_bytes())?;
    file.sync_all()
}

fn dated(line: impl Display) -> String {
    format!("[{:9.3}] {line}\n", timeline::now().as_secs_f64())
}

fn link(link: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::os::unix::fs::symlink(to, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_all_lines_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut journal = Journal::default();
        journal.say("first");
        // Tests may not write to the root directory; the file is there all the same.
        let _ = journal.open(&path);
        journal.say("second");
        journal.file.take();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, journal.text());
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert_eq!(lines, ["first", "second"]);
    }

    #[test]
    fn endless_complaints_do_not_fill_the_memory() {
        let mut journal = Journal::default();
        for _ in 0..40 {
            journal.note("x".repeat(4096));
        }
        assert!(journal.text().len() <= MOST);
    }
}
