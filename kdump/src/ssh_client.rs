//! Packs the distribution's SSH client for the capture image: the program with its libraries, the
//! key that it shows, and the keys of the hosts that it accepts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capture::target::ssh::{IDENTITY, KNOWN_HOSTS, LIBRARIES, PROGRAM, host_key_alias};

use crate::initramfs::Initramfs;
use crate::libraries;

/// Keys of this machine that are shown if no other is given, the first that exists.
const KEYS: [&str; 4] = [
    "/root/.ssh/kdump_id_ed25519",
    "/root/.ssh/kdump_id_rsa",
    "/root/.ssh/id_ed25519",
    "/root/.ssh/id_rsa",
];

/// Where keys of known hosts are.
const KNOWN: [&str; 2] = ["/root/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"];

/// The client asks for the name of its user, even if it does not use it.
const PASSWD: &str = "root:x:0:0:root:/:/bin/false\n";

/// Why the client cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program or its libraries are missing.
    #[error("the ssh client cannot be packed: install it, or give its root with --ssh-root")]
    Program(#[from] libraries::Error),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no key to show.
    #[error("no private key is in {}: make one with ssh-keygen, or give it with --ssh-key", KEYS.join(", "))]
    NoKey,
    /// A key cannot be used when nobody is there.
    #[error(
        "{} is no private key without a passphrase: make one for this alone with ssh-keygen -N ''",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A program that comes with the client is missing.
    #[error("cannot run ssh-keygen")]
    Keygen(#[source] io::Error),
    /// The host's key is not known.
    #[error(
        "the key of host {alias} is not known: connect to it once by hand, or give the key with \
         --ssh-host-key"
    )]
    UnknownHost {
        /// The host as known_hosts files have it.
        alias: String,
    },
    /// A file of host keys has none.
    #[error("{} has no public key of a host", path.display())]
    NoHostKey {
        /// The file.
        path: PathBuf,
    },
}

/// Where the parts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The root that has the client and its libraries: `/`, or that of an unpacked package.
    pub root: PathBuf,
    /// The private key, if not the usual one.
    pub key: Option<PathBuf>,
    /// A file with the public keys of the host, if not what this machine knows of it.
    pub host_key: Option<PathBuf>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { root: "/".into(), key: None, host_key: None }
    }
}

/// Adds to `image` what reaching `hosts` (name and port) takes.
pub fn pack(
    image: &mut Initramfs,
    sources: &Sources,
    hosts: &[(String, u16)],
) -> Result<(), Error> {
    let program = sources.root.join(PROGRAM.trim_start_matches('/'));
    image.file(PROGRAM, 0o755, read(&program)?);
    if let Some(found) = libraries::of_program(&program, &sources.root)? {
        let (path, file) = &found.loader;
        image.file(path, 0o755, read(file)?);
        for (name, file) in &found.files {
            image.file(&format!("{LIBRARIES}/{name}"), 0o755, read(file)?);
        }
    }
    let mut known = String::new();
    for (host, port) in hosts {
        let alias = host_key_alias(host, *port);
        for key in host_keys(sources.host_key.as_deref(), host, *port)? {
            known += &format!("{alias} {key}\n");
        }
    }
    image
        .file(IDENTITY, 0o600, private_key(sources.key.as_deref())?)
        .file(KNOWN_HOSTS, 0o644, known)
        .file("etc/passwd", 0o644, PASSWD);
    Ok(())
}

/// The private key, seen to need no passphrase.
fn private_key(given: Option<&Path>) -> Result<Vec<u8>, Error> {
    let usual = || KEYS.iter().map(Path::new).find(|path| path.exists());
    let path = given.or_else(usual).ok_or(Error::NoKey)?;
    let key = read(path)?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-y", "-P", "", "-f"]).arg(path);
    match keygen.stdin(Stdio::null()).output().map_err(Error::Keygen)?.status.success() {
        true => Ok(key),
        false => Err(Error::Key { path: path.to_owned() }),
    }
}

/// The public keys of a host: type and base64.
fn host_keys(given: Option<&Path>, host: &str, port: u16) -> Result<Vec<String>, Error> {
    if let Some(path) = given {
        let keys = keys_in(&String::from_utf8_lossy(&read(path)?));
        let none = || Error::NoHostKey { path: path.to_owned() };
        return if keys.is_empty() { Err(none()) } else { Ok(keys) };
    }
    // As the client writes it.
    let name = if port == 22 { host.to_owned() } else { host_key_alias(host, port) };
    let mut keys = Vec::new();
    for file in KNOWN.iter().filter(|file| Path::new(file).exists()) {
        // Names may be hashed there: this program knows how.
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-F", &name, "-f", file]).stdin(Stdio::null());
        let found = keygen.output().map_err(Error::Keygen)?;
        keys.extend(keys_in(&String::from_utf8_lossy(&found.stdout)));
    }
    if keys.is_empty() { Err(Error::UnknownHost { alias: name }) } else { Ok(keys) }
}

/// The keys in lines of known_hosts or `.pub` files. Marked ones (`@revoked`, `@cert-authority`)
/// are for something else.
fn keys_in(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', '@']));
    lines.filter_map(key_in).collect()
}

fn key_in(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // Every key begins with the length of its type's name, three bytes of it zero.
    let is_key = |words: &&[&str]| words[1].starts_with("AAAA");
    let [kind, key] = words.windows(2).take(2).find(is_key)? else { return None };
    Some(format!("{kind} {key}"))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_taken_from_every_kind_of_line() {
        let text = "# host\n\
                    dumps.example.org,10.0.2.2 ssh-ed25519 AAAAC3Nza root@dumps\n\
                    |1|abc=|def= ecdsa-sha2-nistp256 AAAAE2Vj\n\
                    ssh-rsa AAAAB3Nz comment\n\
                    @revoked * ssh-rsa AAAAdead\n\
                    nonsense\n";
        let keys = keys_in(text);
        assert_eq!(
            keys,
            ["ssh-ed25519 AAAAC3Nza", "ecdsa-sha2-nistp256 AAAAE2Vj", "ssh-rsa AAAAB3Nz"]
        );
    }

    #[test]
    fn a_key_is_what_ssh_keygen_makes_without_a_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        for (name, passphrase) in [("open", ""), ("locked", "secret")] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
                .arg(dir.path().join(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        assert!(private_key(Some(&dir.path().join("open"))).is_ok());
        for unusable in ["locked", "open.pub"] {
            let refused = private_key(Some(&dir.path().join(unusable)));
            assert!(matches!(refused, Err(Error::Key { .. })), "{unusable}");
        }
        let host_key = host_keys(Some(&dir.path().join("open.pub")), "host", 22).unwrap();
        assert!(host_key[0].starts_with("ssh-ed25519 AAAA"), "{host_key:?}");
    }
}
