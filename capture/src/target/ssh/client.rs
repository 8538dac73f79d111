//! The distribution's SSH client, as `kdump mkinitrd` packs it, and one command after another that
//! it runs on the host.

use std::io::{self, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The client in the capture image.
pub const PROGRAM: &str = "/usr/bin/ssh";
/// The folder of its shared libraries.
pub const LIBRARIES: &str = "/lib/ssh";
/// The private key that it shows.
pub const IDENTITY: &str = "/etc/kdump-ssh/identity";
/// The public keys of the hosts, under their [aliases](host_key_alias).
pub const KNOWN_HOSTS: &str = "/etc/kdump-ssh/known_hosts";

/// How many bytes of what the host or the client says are kept.
const SAID: usize = 4096;

/// How much is sent at once.
const BUFFER: usize = 1 << 20;

/// After so many seconds of silence the client asks whether the host is still there, ...
const ALIVE_INTERVAL: u32 = 15;
/// ... so many times until it gives up.
const ALIVE_COUNT: u32 = 4;

/// The name under which [`KNOWN_HOSTS`] has the key of the server at `port` of `host`.
pub fn host_key_alias(host: &str, port: u16) -> String {
    format!("[{host}]:{port}")
}

/// Why a command was not run, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be started.
    #[error("cannot run {PROGRAM}: was the image built for an ssh target?")]
    Start(#[source] io::Error),
    /// The client or the command failed.
    #[error("ssh cannot {what} ({status}): {said}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// How the client ended: 255 is its own failure, another code the command's.
        status: ExitStatus,
        /// The end of what both of them said.
        said: String,
    },
    /// The connection took no more, or nothing came.
    #[error("ssh cannot {what}")]
    Connection {
        /// What was to be done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// A user on a host.
#[derive(Clone, Debug)]
pub struct Client {
    /// The user there.
    pub user: String,
    /// Address and port of its SSH server.
    pub server: SocketAddr,
    /// What [`KNOWN_HOSTS`] calls it.
    pub host_key_alias: String,
    /// How long connecting may take.
    pub connect: Duration,
}

impl Client {
    /// Runs the shell script with `arguments` as `$1`, … on the host and returns what it wrote to its
    /// standard output. `what` is for messages.
    pub fn run(
        &self,
        what: &'static str,
        script: &str,
        arguments: &[&str],
    ) -> Result<String, Error> {
        let nothing = |_: &mut dyn Write| Ok::<(), Error>(());
        let ((), said) = self.feed(what, script, arguments, nothing)?;
        Ok(said)
    }

    /// The same, with what `write` writes as the script's standard input. If `write` fails because
    /// the connection broke, the error is the client's, which knows more.
    pub fn feed<T, E: From<Error>>(
        &self,
        what: &'static str,
        script: &str,
        arguments: &[&str],
        write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, String), E> {
        run(self.command(script, arguments), what, write)
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        // The loader of the packed client has no cache of its libraries.
        command.env_clear().env("LD_LIBRARY_PATH", LIBRARIES).env("HOME", "/");
        // No file of options: everything is said here.
        command.args(["-F", "none", "-T", "-i", IDENTITY, "-l", &self.user]);
        command.args(["-p", &self.server.port().to_string()]);
        for option in self.options() {
            command.args(["-o", &option]);
        }
        command.arg(self.server.ip().to_string());
        // The login shell may be any: it only has to know single quotes.
        command.arg(format!("exec sh -c {} kdump", quoted(script)));
        command.args(arguments.iter().map(|argument| quoted(argument)));
        command
    }

    fn options(&self) -> [String; 12] {
        [
            // Nobody is there to be asked.
            "BatchMode=yes".into(),
            "StrictHostKeyChecking=yes".into(),
            format!("UserKnownHostsFile={KNOWN_HOSTS}"),
            "GlobalKnownHostsFile=none".into(),
            format!("HostKeyAlias={}", self.host_key_alias),
            "UpdateHostKeys=no".into(),
            "IdentitiesOnly=yes".into(),
            "IdentityAgent=none".into(),
            "LogLevel=ERROR".into(),
            format!("ConnectTimeout={}", self.connect.as_secs().max(1)),
            format!("ServerAliveInterval={ALIVE_INTERVAL}"),
            format!("ServerAliveCountMax={ALIVE_COUNT}"),
        ]
    }
}

/// Runs `command`, fed by `write`.
fn run<T, E: From<Error>>(
    mut command: Command,
    what: &'static str,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, String), E> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::Start)?;
    let said = child.stdout.take().map(listen);
    let complained = child.stderr.take().map(listen);
    let failed = |source| Error::Connection { what, source };
    let written = child.stdin.take().map(|input| {
        let mut input = BufWriter::with_capacity(BUFFER, input);
        let value = write(&mut input)?;
        input.flush().map_err(failed)?;
        Ok(value)
    });
    let status = child.wait().map_err(failed)?;
    let (said, complained) = (heard(said), heard(complained));
    if !status.success() {
        // The client knows why the pipe to it broke.
        let said = last_lines(if complained.is_empty() { &said } else { &complained });
        return Err(Error::Failed { what, status, said }.into());
    }
    let missing = || Err(failed(io::ErrorKind::BrokenPipe.into()).into());
    written.unwrap_or_else(missing).map(|value| (value, said))
}

/// Collects the end of what comes, in a thread: whoever writes it must never have to wait.
fn listen(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut end = Vec::new();
        let mut piece = [0; SAID];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            end.extend_from_slice(&piece[..length]);
            end.drain(..end.len().saturating_sub(SAID));
        }
        end
    })
}

/// What a listener heard; nothing if there was none.
fn heard(listener: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = listener.and_then(|listener| listener.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The last two lines: what failed, and what that means for the connection.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(2)..].join("; ")
}

/// As one word of any shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn write_all(bytes: Vec<u8>) -> impl FnOnce(&mut dyn Write) -> Result<(), Error> {
        move |out| out.write_all(&bytes).map_err(|source| Error::Connection { what: "", source })
    }

    #[test]
    fn what_is_written_arrives_and_the_answer_comes_back() {
        let ((), said) = run(sh("wc -c"), "count", write_all(vec![0; 3 << 20])).unwrap();
        assert_eq!(said, (3 << 20).to_string());
    }

    #[test]
    fn a_client_that_ends_early_says_why() {
        let script = "echo connecting >&2; echo no route >&2; echo closed >&2; exit 255";
        let error = run(sh(script), "save", write_all(vec![0; 3 << 20])).unwrap_err();
        assert_eq!(error.to_string(), "ssh cannot save (exit status: 255): no route; closed");
    }

    #[test]
    fn only_the_end_of_endless_talk_is_kept() {
        let script = "i=0; while [ $i -lt 4000 ]; do echo $i >&2; i=$((i+1)); done; exit 1";
        let error = run(sh(script), "save", write_all(Vec::new())).unwrap_err();
        assert!(error.to_string().ends_with(": 3998; 3999"), "{error}");
    }

    #[test]
    fn a_writer_that_fails_is_told_itself() {
        let fails = |_: &mut dyn Write| -> Result<(), Error> {
            let source = io::ErrorKind::InvalidData.into();
            Err(Error::Connection { what: "read memory", source })
        };
        let error = run(sh("cat"), "save", fails).unwrap_err();
        assert!(matches!(error, Error::Connection { what: "read memory", .. }));
    }

    #[test]
    fn words_survive_two_shells() {
        let word = "a 'b' $c \\ \"d\" *";
        let command = format!("exec sh -c {} kdump {}", quoted("printf %s \"$1\""), quoted(word));
        let ((), said) = run(sh(&command), "say", write_all(Vec::new())).unwrap();
        assert_eq!(said, word);
    }

    #[test]
    fn the_client_is_told_everything() {
        let client = Client {
            user: "kdump".into(),
            server: ([10, 0, 2, 2], 2222).into(),
            host_key_alias: host_key_alias("dumps.example.org", 2222),
            connect: Duration::from_secs(60),
        };
        let command = client.command("cat > \"$1\"", &["/var/it's"]);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        for option in ["StrictHostKeyChecking=yes", "HostKeyAlias=[dumps.example.org]:2222"] {
            assert!(words.iter().any(|word| word == option), "{option}");
        }
        let end = ["10.0.2.2", "exec sh -c 'cat > \"$1\"' kdump", r"'/var/it'\''s'"];
        assert!(words.ends_with(&end.map(Into::into)), "{words:?}");
    }
}
