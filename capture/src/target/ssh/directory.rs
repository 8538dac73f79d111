//! The directory of one dump on a host, by shell scripts that any POSIX system understands.

use std::io::Write;
use std::path::Path;

use super::client::{Client, Error};

/// Makes directory `$1/$2`, or `$1/$2.N` with the first free number, and says its name.
const MAKE_DIRECTORY: &str = r#"
umask 077
mkdir -p "$1" || exit
name=$1/$2 number=0
until mkdir "$name" 2>/dev/null; do
    # Not because it is there.
    [ -e "$name" ] || exec mkdir "$name"
    number=$((number + 1))
    [ $number -lt 1000 ] || exit
    name=$1/$2.$number
done
printf '%s\n' "$name"
"#;

/// Writes standard input to the new file `$1`, until it is on the disk.
const PUT: &str = r#"
umask 077
set -C
cat > "$1" || exit
sync "$1" 2>/dev/null || sync
"#;

/// Writes standard input, `$2` bytes, to the file `$1`, which is there whole or not at all: a
/// connection that breaks looks like the end of the input.
const REPLACE: &str = r#"
umask 077
cat > "$1.new" || exit
[ "$(wc -c < "$1.new")" -eq "$2" ] || { echo "$1.new has not all of $2 bytes" >&2; exit 1; }
mv "$1.new" "$1" || exit
sync "$1" 2>/dev/null || sync
"#;

/// Renames `$1` to `$2` if it has `$3` bytes with SHA-256 `$4`. Hosts without a program for that
/// only count.
const FINISH: &str = r#"
size=$(wc -c < "$1") || exit
[ "$size" -eq "$3" ] || { echo "$1 has $size of $3 bytes" >&2; exit 1; }
sum=
for program in sha256sum "shasum -a 256" sha256; do
    command -v "${program%% *}" >/dev/null || continue
    sum=$($program < "$1") || exit
    break
done
case $sum in
    "$4"* | "") ;;
    *) echo "$1 has SHA-256 $sum instead of $4" >&2; exit 1 ;;
esac
mv "$1" "$2" || exit
sync "$2" 2>/dev/null || sync
"#;

/// The directory of one dump.
#[derive(Debug)]
pub struct Directory {
    client: Client,
    /// Its absolute path on the host.
    path: String,
}

impl Directory {
    /// Makes a directory called `name`, with a number if there is one already, below `parent`.
    pub fn create(client: Client, parent: &Path, name: &str) -> Result<Self, Error> {
        let parent = parent.to_string_lossy();
        let path = client.run("make a directory", MAKE_DIRECTORY, &[&parent, name])?;
        Ok(Self { client, path })
    }

    /// Its path on the host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Makes the new file `name` from what `write` writes.
    pub fn put<T, E: From<Error>>(
        &self,
        what: &'static str,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let (value, _) = self.client.feed(what, PUT, &[&self.file(name)], write)?;
        Ok(value)
    }

    /// Gives the file `name` the content `text`, in place of one that it may have.
    pub fn replace(&self, what: &'static str, name: &str, text: &[u8]) -> Result<(), Error> {
        let write = |out: &mut dyn Write| {
            out.write_all(text).map_err(|source| Error::Connection { what, source })
        };
        let arguments = [&*self.file(name), &text.len().to_string()];
        self.client.feed(what, REPLACE, &arguments, write).map(drop)
    }

    /// Gives the file `incomplete` its name `complete` if it has `size` bytes with this SHA-256.
    pub fn finish(
        &self,
        incomplete: &str,
        complete: &str,
        size: u64,
        sha256: &[u8; 32],
    ) -> Result<(), Error> {
        let digest: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let (incomplete, complete) = (self.file(incomplete), self.file(complete));
        let arguments = [&*incomplete, &complete, &size.to_string(), &digest];
        self.client.run("check the dump", FINISH, &arguments)?;
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::{Command, Output, Stdio};

    /// Runs a script as the host does.
    fn run(script: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("sh")
            .args(["-c", script, "kdump"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A script that fails at once reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn said(output: &Output) -> &str {
        std::str::from_utf8(&output.stdout).unwrap().trim()
    }

    #[test]
    fn directories_have_free_names() {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("var/my crash");
        let parent = parent.to_str().unwrap();
        for expected in ["dump", "dump.1", "dump.2"] {
            let made = run(MAKE_DIRECTORY, &[parent, "dump"], b"");
            assert_eq!(said(&made), format!("{parent}/{expected}"));
            assert!(Path::new(said(&made)).is_dir());
        }
        fs::write(dir.path().join("file"), "").unwrap();
        let below_a_file = format!("{}/file", dir.path().display());
        assert!(!run(MAKE_DIRECTORY, &[&below_a_file, "dump"], b"").status.success());
    }

    #[test]
    fn only_what_arrived_whole_gets_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (incomplete, complete) = (path("vmcore-incomplete"), path("vmcore"));
        assert!(run(PUT, &[&incomplete], b"hello").status.success());
        // Never over what is there.
        assert!(!run(PUT, &[&incomplete], b"other").status.success());

        let manifest = path("manifest.json");
        for text in ["first", "second"] {
            let size = text.len().to_string();
            assert!(run(REPLACE, &[&manifest, &size], text.as_bytes()).status.success());
            assert_eq!(fs::read_to_string(&manifest).unwrap(), text);
        }
        assert!(!run(REPLACE, &[&manifest, "6"], b"thi").status.success());
        assert_eq!(fs::read_to_string(&manifest).unwrap(), "second");

        // sha256sum of "hello".
        let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let other = digest.replace('2', "3");
        for (size, digest, reason) in [("6", digest, "5 of 6 bytes"), ("5", &other, "SHA-256")] {
            let refused = run(FINISH, &[&incomplete, &complete, size, digest], b"");
            let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && complaint.contains(reason), "{complaint}");
            assert!(!Path::new(&complete).exists());
        }
        let done = run(FINISH, &[&incomplete, &complete, "5", digest], b"");
        assert!(done.status.success(), "{done:?}");
        assert_eq!(fs::read(&complete).unwrap(), b"hello");
        assert!(!Path::new(&incomplete).exists());
    }
}
