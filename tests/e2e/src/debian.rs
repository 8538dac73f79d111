//! Fetches packages from Debian's archive by name.
//!
//! apt runs with a configuration of our own: own lists, own sources, an empty list of installed
//! packages. Of the host's apt only the programs, the keyring and the network settings are used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use purgatorio::facts::Arch;

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const TRIES: u32 = 4;

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host is not a Debian.
    #[error(
        "{file} is missing: packages come from Debian's archive, which needs a Debian host \
             (apt-get, dpkg-deb, debian-archive-keyring)"
    )]
    NotDebian {
        /// What was looked for.
        file: PathBuf,
    },
    /// A file could not be used.
    #[error("{path}: cannot read or write")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// apt or dpkg-deb failed.
    #[error("package {package}: {source}")]
    Apt {
        /// The package.
        package: String,
        /// What failed.
        source: process::Error,
    },
    /// A metapackage depends on nothing that we know how to take.
    #[error("package {package} names no kernel package: its dependencies are\n{dependencies}")]
    NoKernel {
        /// The metapackage.
        package: String,
        /// What apt says about it.
        dependencies: String,
    },
}

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: Linux 6.1.
    Bookworm,
    /// Debian 12 with newer packages that do without Debian 13: Linux 6.12.
    BookwormBackports,
    /// Debian 13: Linux 6.12.
    Trixie,
}

impl Suite {
    /// Its code name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::BookwormBackports => "bookworm-backports",
            Self::Trixie => "trixie",
        }
    }
}

/// Debian's name for an architecture; there is no release for big-endian ppc64.
pub const fn architecture(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::X86_64 => Some("amd64"),
        Arch::I386 => Some("i386"),
        Arch::Ppc64le => Some("ppc64el"),
        Arch::Ppc64 => None,
    }
}

/// Debian's archive for one architecture and release, with a cache of unpacked packages.
///
/// A package that was unpacked once is used again; delete its folder to fetch it anew.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    suite: Suite,
    architecture: &'static str,
}

impl Archive {
    /// The archive with its cache below `caches`, in a folder that is made if it is missing.
    ///
    /// For big-endian ppc64 it is amd64's: what has no architecture (sources) is the same
    /// everywhere.
    pub fn open(caches: &Path, arch: Arch, suite: Suite) -> Result<Self, Error> {
        for file in ["/usr/bin/apt-get", "/usr/bin/dpkg-deb", KEYRING] {
            if !Path::new(file).exists() {
                return Err(Error::NotDebian { file: file.into() });
            }
        }
        let architecture = architecture(arch).unwrap_or("amd64");
        let dir = caches.join(format!("{architecture}-{}", suite.name()));
        let archive = Self { dir, suite, architecture };
        for sub in ["apt/lists/partial", "apt/cache/archives/partial"] {
            make_dir(&archive.dir.join(sub))?;
        }
        archive.write("apt/status", "")?;
        archive.write("apt/sources.list", &sources(suite.name()))?;
        archive.write("apt/apt.conf", &archive.configuration())?;
        Ok(archive)
    }

    /// The root of the unpacked package `name`.
    pub fn package(&self, name: &str) -> Result<PathBuf, Error> {
        self.cached(name, || self.download(name, name))
    }

    /// The file at `path` of the package `name`, and nothing else of it: of packages with debug
    /// information there is room for little.
    pub fn file_of(&self, name: &str, path: &str) -> Result<PathBuf, Error> {
        let root = self.dir.join("packages").join(name);
        if root.exists() {
            return Ok(root.join(path));
        }
        let unpacking = self.dir.join("unpacking").join(name);
        make_dir(&unpacking)?;
        let archive = unpacking.join("archive.tar");
        for deb in debs(&self.download(name, name)?)? {
            let failed = |source| Error::Apt { package: name.into(), source };
            let mut fsys = Command::new("sh");
            fsys.args(["-c", "dpkg-deb --fsys-tarfile \"$1\" > \"$2\"", "sh"]);
            process::output(fsys.arg(&deb).arg(&archive)).map_err(failed)?;
            let mut tar = Command::new("tar");
            tar.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&unpacking);
            process::output(tar.arg(format!("./{path}"))).map_err(failed)?;
            for used_up in [&archive, &deb] {
                fs::remove_file(used_up)
                    .map_err(|source| Error::File { path: used_up.clone(), source })?;
            }
        }
        make_dir(&self.dir.join("packages"))?;
        fs::rename(&unpacking, &root)
            .map_err(|source| Error::File { path: root.clone(), source })?;
        Ok(root.join(path))
    }

    /// The root of the kernel package that the metapackage `name` (linux-image-amd64, …) stands
    /// for at the moment.
    pub fn kernel(&self, name: &str) -> Result<PathBuf, Error> {
        self.cached(name, || {
            self.update(name)?;
            let dependencies = self.apt(name, "apt-cache", &["depends", "--important", name])?;
            let kernel = dependencies
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Depends: "))
                .find(|package| package.starts_with("linux-image-"))
                .ok_or_else(|| Error::NoKernel {
                    package: name.into(),
                    dependencies: dependencies.clone(),
                })?;
            self.download(name, kernel)
        })
    }

    /// The version of the package `name`, which was fetched before.
    pub fn version(&self, name: &str) -> Result<Option<String>, Error> {
        let debs = self.debs(name)?;
        // NAME_VERSION_ARCHITECTURE.deb
        let file = debs.last().and_then(|deb| deb.file_stem()).unwrap_or_default();
        Ok(file.to_string_lossy().split('_').nth(1).map(str::to_owned))
    }

    /// A root, called `name`, with `packages` and everything that they depend on.
    pub fn with_dependencies(&self, name: &str, packages: &[&str]) -> Result<PathBuf, Error> {
        self.cached(name, || {
            self.update(name)?;
            let archives = self.dir.join("downloads").join(name);
            make_dir(&archives.join("partial"))?;
            let option = format!("Dir::Cache::archives={}", archives.display());
            let arguments =
                ["-y", "--download-only", "--no-install-recommends", "-o", &option, "install"];
            self.apt(name, "apt-get", &[&arguments[..], packages].concat())?;
            Ok(archives)
        })
    }

    /// The files of the packages that were fetched as `name`.
    pub fn debs(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        debs(&self.dir.join("downloads").join(name))
    }

    /// The upstream source of the source package `name`, unpacked, without Debian's patches.
    pub fn source(&self, name: &str) -> Result<PathBuf, Error> {
        let root = self.dir.join("sources").join(name);
        if root.exists() {
            return Ok(root);
        }
        let downloads = self.dir.join("downloads").join(format!("{name}-source"));
        let unpacking = self.dir.join("unpacking").join(format!("{name}-source"));
        for folder in [&downloads, &unpacking, &self.dir.join("sources")] {
            make_dir(folder)?;
        }
        // Lists of their own, so that packages are found without the large index of sources.
        self.write(
            "apt/source-packages.list",
            &sources(self.suite.name()).replace("deb ", "deb-src "),
        )?;
        let lists = self.dir.join("apt/source-lists");
        make_dir(&lists.join("partial"))?;
        let options = [
            format!("Dir::Etc::sourcelist={}/apt/source-packages.list", self.dir.display()),
            format!("Dir::State::lists={}", lists.display()),
        ];
        let options = ["-o", &options[0], "-o", &options[1]];
        self.apt(name, "apt-get", &[&options[..], &["update", "--error-on=any"]].concat())?;
        process::retry(TRIES, || {
            let fetch = [&options[..], &["source", "--download-only", name]].concat();
            let mut command = self.command("apt-get", &fetch);
            command.current_dir(&downloads);
            command
        })
        .map_err(|source| Error::Apt { package: name.into(), source })?;
        let is_upstream = |path: &PathBuf| path.to_string_lossy().contains(".orig.tar.");
        for tarball in files(&downloads)?.into_iter().filter(is_upstream) {
            process::output(
                Command::new("tar")
                    .args(["--extract", "--strip-components=1", "--file"])
                    .arg(&tarball)
                    .arg("--directory")
                    .arg(&unpacking),
            )
            .map_err(|source| Error::Apt { package: name.into(), source })?;
        }
        fs::rename(&unpacking, &root)
            .map_err(|source| Error::File { path: root.clone(), source })?;
        Ok(root)
    }

    /// Unpacks what `download` fetched, unless that was done before. A half-unpacked package
    /// never gets the final name.
    fn cached(
        &self,
        name: &str,
        download: impl FnOnce() -> Result<PathBuf, Error>,
    ) -> Result<PathBuf, Error> {
        let root = self.dir.join("packages").join(name);
        if root.exists() {
            return Ok(root);
        }
        let unpacking = self.dir.join("unpacking").join(name);
        make_dir(&unpacking)?;
        for deb in debs(&download()?)? {
            process::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacking))
                .map_err(|source| Error::Apt { package: name.into(), source })?;
        }
        make_dir(&self.dir.join("packages"))?;
        fs::rename(&unpacking, &root)
            .map_err(|source| Error::File { path: root.clone(), source })?;
        Ok(root)
    }

    /// Fetches the file of `package` into a folder for `name` and returns the folder.
    fn download(&self, name: &str, package: &str) -> Result<PathBuf, Error> {
        self.update(name)?;
        let folder = self.dir.join("downloads").join(name);
        make_dir(&folder)?;
        process::retry(TRIES, || {
            let mut command = self.command("apt-get", &["download", package]);
            command.current_dir(&folder);
            command
        })
        .map_err(|source| Error::Apt { package: package.into(), source })?;
        Ok(folder)
    }

    /// Where the index of security updates cannot be had (a mirror in the middle of its
    /// synchronization), the release's own packages will do for tests.
    fn update(&self, name: &str) -> Result<(), Error> {
        let update = || self.apt(name, "apt-get", &["update", "--error-on=any"]).map(drop);
        update().or_else(|error| {
            self.write("apt/sources.list", &release(self.suite.name()))?;
            update().map_err(|_| error)
        })
    }

    fn apt(&self, package: &str, program: &str, arguments: &[&str]) -> Result<String, Error> {
        process::retry(TRIES, || self.command(program, arguments))
            .map_err(|source| Error::Apt { package: package.into(), source })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("APT_CONFIG", self.dir.join("apt/apt.conf"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn configuration(&self) -> String {
        let apt = self.dir.join("apt");
        let (apt, architecture) = (apt.display(), self.architecture);
        // Sandbox user root: apt's own user may not be able to enter the cache's folder.
        format!(
            "Dir::State \"{apt}/\";\n\
             Dir::State::lists \"{apt}/lists\";\n\
             Dir::State::status \"{apt}/status\";\n\
             Dir::Cache \"{apt}/cache\";\n\
             Dir::Etc::sourcelist \"{apt}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\n"
        )
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.join(file);
        fs::write(&path, text).map_err(|source| Error::File { path, source })
    }
}

/// The lines of sources.list for a Debian release with its security updates.
pub(crate) fn sources(suite: &str) -> String {
    let security = format!(
        "deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {suite}-security main\n"
    );
    release(suite) + &security
}

/// The line of sources.list for a release as it was made, with its point releases.
fn release(suite: &str) -> String {
    format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n")
}

/// The line of sources.list for a release's backports.
pub(crate) fn backports(suite: &str) -> String {
    format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite}-backports main\n")
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_deb = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    Ok(files(folder)?.into_iter().filter(is_deb).collect())
}

/// What lies in `folder`, in the order of the names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
