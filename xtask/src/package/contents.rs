//! What lies where in the package.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{process, programs};

use super::{Error, failed, template, template_path};
use crate::dist::SHARE;
use crate::system_files;

/// The programs.
const PROGRAMS: [&str; 3] = ["kexec", "kdump", "kdump-capture"];
/// Manual pages, and their folder.
const PAGES: [(&str, &str); 3] = [
    ("kexec.8", "usr/share/man/man8"),
    ("kdump.8", "usr/share/man/man8"),
    ("kdump.toml.5", "usr/share/man/man5"),
];
/// Completions, and the file that the shell looks for.
const COMPLETIONS: [(&str, &str); 6] = [
    ("kexec.bash", "usr/share/bash-completion/completions/kexec"),
    ("kdump.bash", "usr/share/bash-completion/completions/kdump"),
    ("_kexec", "usr/share/zsh/vendor-completions/_kexec"),
    ("_kdump", "usr/share/zsh/vendor-completions/_kdump"),
    ("kexec.fish", "usr/share/fish/vendor_completions.d/kexec.fish"),
    ("kdump.fish", "usr/share/fish/vendor_completions.d/kdump.fish"),
];
/// kdump(8) tells what this program does, too.
const PAGE_LINK: (&str, &str) = ("kdump.8.gz", "usr/share/man/man8/kdump-capture.8.gz");
/// The files of `packaging/debian` that dpkg runs or reads as they are.
const CONTROL_FILES: [&str; 5] = ["conffiles", "preinst", "postinst", "prerm", "postrm"];
const DOCUMENTATION: &str = "usr/share/doc/purgatorio";
const LINTIAN: &str = "usr/share/lintian/overrides/purgatorio";

/// Writes the package's tree into the folder `root`, from what `cargo xtask dist` put into `dist`.
///
/// `changelog` is the text of Debian's.
pub fn write(root: &Path, dist: &Path, changelog: &str) -> Result<(), Error> {
    system_files::write(&programs::root(), root).map_err(failed(root))?;
    for program in PROGRAMS {
        copy(&dist.join(program), &root.join("usr/sbin").join(program))?;
    }
    let share = dist.join(SHARE);
    for (page, folder) in PAGES {
        let to = root.join(folder).join(page);
        copy(&share.join(page), &to)?;
        compress(&to)?;
    }
    let (target, link) = PAGE_LINK;
    symlink(target, root.join(link)).map_err(failed(&root.join(link)))?;
    for (from, to) in COMPLETIONS {
        copy(&share.join(from), &root.join(to))?;
    }
    let documentation = root.join(DOCUMENTATION);
    put(&documentation.join("copyright"), &template("copyright")?)?;
    put(&documentation.join("changelog"), changelog)?;
    compress(&documentation.join("changelog"))?;
    put(&root.join(LINTIAN), &template("lintian-overrides")?)?;
    permissions(root)
}

/// Adds what dpkg has to know of the files in `root`: its folder `DEBIAN`.
pub fn write_control(root: &Path, version: &str, architecture: &str) -> Result<(), Error> {
    let files = files(root)?;
    let sums = process::output(Command::new("md5sum").arg("--").args(&files).current_dir(root))?;
    let mut bytes = 0;
    for file in &files {
        let path = root.join(file);
        bytes += fs::metadata(&path).map_err(failed(&path))?.len();
    }
    let control = template("control")?
        .replace("{version}", version)
        .replace("{architecture}", architecture)
        .replace("{installed_size}", &bytes.div_ceil(1024).to_string());
    let folder = root.join("DEBIAN");
    put(&folder.join("md5sums"), &sums)?;
    put(&folder.join("control"), &control)?;
    for name in CONTROL_FILES {
        copy(&template_path(name), &folder.join(name))?;
    }
    permissions(&folder)
}

/// Every file below `root` that is no folder and no link, in the order of the names and relative to
/// it.
fn files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let relative = |path: &PathBuf| path.strip_prefix(root).map_or(path.clone(), Path::to_owned);
    let mut files: Vec<_> =
        tree(root)?.iter().filter(|path| path.is_file()).map(relative).collect();
    files.sort();
    Ok(files)
}

/// `root` and everything below it that is no link.
fn tree(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if !path.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?;
            if !entry.file_type().map_err(failed(&path))?.is_symlink() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Folders and programs get 755, other files 644: the checkout's permissions depend on who made it.
fn permissions(root: &Path) -> Result<(), Error> {
    for path in tree(root)? {
        let metadata = fs::metadata(&path).map_err(failed(&path))?;
        let program = metadata.is_dir() || metadata.permissions().mode() & 0o111 != 0;
        let mode = if program { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed(&path))?;
    }
    Ok(())
}

/// Writes `text` to `path`, whose folders are made.
fn put(path: &Path, text: &str) -> Result<(), Error> {
    make_dir(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(failed(path))
}

/// Copies a file, and whether it is a program.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    make_dir(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map(drop).map_err(failed(from))
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(failed(path))
}

/// gzip writes no name and no time, so that the same text gives the same file.
fn compress(path: &Path) -> Result<(), Error> {
    process::output(Command::new("gzip").args(["--best", "--no-name"]).arg(path))?;
    Ok(())
}
