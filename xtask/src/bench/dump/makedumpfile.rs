//! The peer: Debian's makedumpfile, which knows no zstd, and one built from its source package
//! that does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::debian::{Archive, Suite};
use e2e::lab::Lab;
use e2e::process;

use super::{ARCH, Cell, Compression};
use crate::bench::Error;

/// What the build links, statically: the host may have other versions of the libraries.
const LIBRARIES: [&str; 6] =
    ["libdw-dev", "libelf-dev", "zlib1g-dev", "liblzma-dev", "libbz2-dev", "libzstd-dev"];

/// Errors, and nothing of the progress.
const MESSAGE_LEVEL: &str = "4";

/// Both programs.
pub struct Peer {
    debian: PathBuf,
    with_zstd: PathBuf,
}

impl Peer {
    /// Builds the one; the other is installed.
    pub fn prepare(lab: &Lab) -> Result<Self, Error> {
        let archive = lab.archive(ARCH, Suite::Bookworm)?;
        Ok(Self { debian: "makedumpfile".into(), with_zstd: built(&archive)? })
    }

    /// The program that reads every dump.
    pub fn reader(&self) -> &Path {
        &self.with_zstd
    }

    /// The peer at work.
    pub fn command(&self, cell: Cell, core: &Path, out: &Path) -> Command {
        let (program, compress) = match cell.compression {
            Compression::Zlib => (&self.debian, "-c"),
            Compression::Zstd => (&self.with_zstd, "-z"),
        };
        let mut command = Command::new(program);
        command.args([compress, "-d", &cell.level.to_string(), "--message-level", MESSAGE_LEVEL]);
        if cell.threads > 1 {
            command.args(["--num-threads", &cell.threads.to_string()]);
        }
        command.args([core, out]);
        command
    }

    /// What the programs say they are.
    pub fn describe(&self) -> Result<String, Error> {
        let version = |program: &Path| {
            let text = process::output(Command::new(program).arg("-v"))?;
            Ok::<_, Error>(text.lines().next().unwrap_or_default().to_owned())
        };
        Ok(format!(
            "zlib: the peer is Debian's package, `{}`; zstd: built from its source package with \
             USEZSTD=on, `{}`.",
            version(&self.debian)?,
            version(&self.with_zstd)?
        ))
    }
}

/// The program with zstd, built at the first call and kept with the sources.
fn built(archive: &Archive) -> Result<PathBuf, Error> {
    let source = archive.source("makedumpfile")?;
    let program = source.join("makedumpfile");
    if program.exists() {
        return Ok(program);
    }
    let libraries = archive.with_dependencies("makedumpfile-libraries", &LIBRARIES)?.join("usr");
    eprintln!("building makedumpfile with zstd, once …");
    let folder = |name: &str| libraries.join(name).display().to_string();
    process::output(
        Command::new("make")
            .arg("--directory")
            .arg(&source)
            .args(["LINKTYPE=static", "USEZSTD=on", "makedumpfile"])
            // Before those of the host.
            .arg(format!("LDFLAGS=-L{}", folder("lib/x86_64-linux-gnu")))
            .env("CFLAGS", format!("-I{}", folder("include"))),
    )?;
    fs::metadata(&program).map_err(|source| Error::File { path: program.clone(), source })?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_its_default_and_zstd_its_own_program() {
        let peer = Peer { debian: "debian".into(), with_zstd: "built".into() };
        let show = |compression, level, threads| {
            let cell = Cell { compression, level, threads };
            process::show(&peer.command(cell, Path::new("core"), Path::new("out")))
        };
        let zlib = show(Compression::Zlib, 31, 1);
        assert_eq!(zlib, "debian -c -d 31 --message-level 4 core out");
        let zstd = show(Compression::Zstd, 0, 4);
        assert_eq!(zstd, "built -z -d 0 --message-level 4 --num-threads 4 core out");
    }
}
