//! `kdump save`: writes a dump once more, from any core to any format.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capture::dump::{self, Compression, Format, Options, Output, Progress, Saved, Stage};
use capture::filter::Level;
use capture::vmcore::{self, Vmcore};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

/// How often progress is shown where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// The options.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Leave out pages of these kinds, as makedumpfile numbers them: 1 zero, 2 page cache,
    /// 4 page cache with private data, 8 user, 16 free, or the sum of several
    #[arg(short = 'd', value_name = "LEVEL", default_value = "31", conflicts_with = "drop")]
    level: Level,
    /// The same by name: zero, cache, non-private-cache, user, free, with commas between them
    #[arg(long, value_name = "KINDS")]
    drop: Option<Level>,
    /// kdump or elf
    #[arg(long, default_value_t)]
    format: Format,
    /// For the format kdump: zlib, zstd, snappy or none
    #[arg(long, value_name = "METHOD", default_value_t)]
    compress: Compression,
    /// How many threads read and compress [default: one for each CPU]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write the flattened form, as for a pipe
    #[arg(long)]
    flatten: bool,
    /// Read OUT back when it is written, and print its SHA-256
    #[arg(long, conflicts_with = "flatten")]
    verify: bool,
    /// The memory: /proc/vmcore, or a dump in the format ELF or kdump, flattened or not
    #[arg(value_name = "CORE")]
    core: PathBuf,
    /// The file to make; - is standard output, which gets the flattened form
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The core cannot be read.
    #[error(transparent)]
    Core(#[from] vmcore::Error),
    /// The dump cannot be written or differs from what was written.
    #[error("{} is not complete", path.display())]
    Dump {
        /// What there is of it.
        path: PathBuf,
        /// Why.
        source: dump::Error,
    },
    /// A file cannot be made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is nothing to read back.
    #[error("--verify needs a file: what went to standard output cannot be read back")]
    VerifyStream,
    /// Standard output is a terminal.
    #[error("a dump is not for a terminal: send standard output to a file or a pipe")]
    Terminal,
}

/// Writes the dump under a temporary name, which it keeps if that fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.run()
}

impl Arguments {
    fn run(&self) -> Result<(), Failure> {
        let core = Vmcore::open(&self.core)?;
        let options = Options {
            format: self.format,
            compression: self.compress,
            level: self.drop.unwrap_or(self.level),
            threads: self.threads.unwrap_or_else(every_cpu),
        };
        if self.output == Path::new("-") {
            if self.verify {
                return Err(Failure::VerifyStream);
            }
            let mut stdout = io::stdout().lock();
            if stdout.is_terminal() {
                return Err(Failure::Terminal);
            }
            return self.write(&core, &options, Output::Stream(&mut stdout), &self.output);
        }
        self.save_to_file(&core, &options)
    }

    fn save_to_file(&self, core: &Vmcore, options: &Options) -> Result<(), Failure> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Failure::File { what, path, source }
        };
        if self.output.exists() {
            let exists = io::ErrorKind::AlreadyExists.into();
            return Err(failed("create", &self.output)(exists));
        }
        let mut incomplete = self.output.as_os_str().to_owned();
        incomplete.push(".incomplete");
        let incomplete = PathBuf::from(incomplete);
        let mut file = File::create_new(&incomplete).map_err(failed("create", &incomplete))?;
        let output = if self.flatten { Output::Stream(&mut file) } else { Output::File(&file) };
        self.write(core, options, output, &incomplete)?;
        fs::rename(&incomplete, &self.output).map_err(failed("rename", &incomplete))
    }

    fn write(
        &self,
        core: &Vmcore,
        options: &Options,
        output: Output<'_>,
        path: &Path,
    ) -> Result<(), Failure> {
        let failed = |source| Failure::Dump { path: path.to_owned(), source };
        let mut shown = Shown::new(core.headers().page_size);
        let saved = dump::save(core, options, output, &mut |done| shown.show(done));
        let saved = saved.map_err(failed)?;
        let sha256 = if self.verify {
            Some(dump::verify(core, path, &saved, &mut |done| shown.show(done)).map_err(failed)?)
        } else {
            saved.sha256
        };
        shown.end();
        tell(&saved, options, sha256);
        Ok(())
    }
}

fn every_cpu() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Says on standard error what was saved: standard output may be the dump.
fn tell(saved: &Saved, options: &Options, sha256: Option<[u8; 32]>) {
    let pages = &saved.pages;
    for note in &saved.notes {
        eprintln!("kdump: {note}");
    }
    eprintln!(
        "kdump: saved {} of {} pages in {} bytes ({}, level {})",
        pages.kept, pages.total, saved.bytes, options.format, options.level
    );
    eprintln!(
        "kdump: {} zero; left out: {} cache, {} private cache, {} user, {} free, {} poisoned, \
         {} offline, {} missing in the core",
        pages.zero,
        pages.cache,
        pages.cache_private,
        pages.user,
        pages.free,
        pages.hwpoison,
        pages.offline,
        pages.missing
    );
    if let Some(sha256) = sha256 {
        let digits: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("kdump: sha256 {digits}");
    }
}

/// Progress on standard error: a bar with rate and time left on a terminal, else a line now and
/// then.
struct Shown {
    page_size: u64,
    stage: Option<Stage>,
    bar: ProgressBar,
    is_terminal: bool,
    started: Instant,
    last: Instant,
}

impl Shown {
    fn new(page_size: u64) -> Self {
        let now = Instant::now();
        Self {
            page_size,
            stage: None,
            bar: ProgressBar::hidden(),
            is_terminal: io::stderr().is_terminal(),
            started: now,
            last: now,
        }
    }

    fn show(&mut self, progress: &Progress) {
        // Pages count as the memory that they are.
        let unit = match progress.stage {
            Stage::Count | Stage::Save => self.page_size,
            Stage::Verify => 1,
        };
        let (done, total) = (progress.done * unit, progress.total * unit);
        let what = match progress.stage {
            Stage::Count => "counting",
            Stage::Save => "saving",
            Stage::Verify => "verifying",
        };
        if self.stage != Some(progress.stage) {
            self.stage = Some(progress.stage);
            self.started = Instant::now();
            self.last = self.started;
            self.bar.finish_and_clear();
            if self.is_terminal {
                self.bar = bar(what, total);
            }
        }
        self.bar.set_position(done);
        if !self.is_terminal && self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            eprintln!("kdump: {}", line(what, done, total, self.started.elapsed()));
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    let template = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Such as `saving 12% (1200 of 10000 MB, 400 MB/s, 22 s left)`.
fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let milliseconds = elapsed.as_millis().max(1);
    let rate = u128::from(done) / milliseconds / 1000;
    let left = u128::from(total - done.min(total)) * milliseconds / u128::from(done.max(1)) / 1000;
    format!(
        "{what} {percent}% ({} of {} MB, {rate} MB/s, {left} s left)",
        megabytes(done),
        megabytes(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        let line = |done| line("saving", done, 10_000_000_000, Duration::from_secs(3));
        assert_eq!(line(1_200_000_000), "saving 12% (1200 of 10000 MB, 400 MB/s, 22 s left)");
        assert_eq!(line(10_000_000_000), "saving 100% (10000 of 10000 MB, 3333 MB/s, 0 s left)");
        line(0);
    }
}
